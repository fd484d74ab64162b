/** The one stream of events that the page lives by. */
import type { ConsoleDelta, ConsoleView } from '../wire.ts'
import { logIn } from './api.ts'
import { store } from './store.ts'

const path = '/console/events'
/** The node speaks every second: after so long without a word it is gone, ms. */
const silentMs = 6000
const againMs = 1500

export function live(): void {
  let source: EventSource | undefined
  let heardAt = Date.now()
  let openedAt = 0

  const open = () => {
    source?.close()
    openedAt = Date.now()
    source = new EventSource(path)
    source.addEventListener('view', (event: MessageEvent<string>) => {
      heardAt = Date.now()
      store.trigger.told({ view: JSON.parse(event.data) as ConsoleView })
    })
    source.addEventListener('delta', (event: MessageEvent<string>) => {
      heardAt = Date.now()
      store.trigger.changed({ delta: JSON.parse(event.data) as ConsoleDelta })
    })
    source.addEventListener('error', () => store.trigger.lost())
  }

  const look = () => {
    const now = Date.now()
    store.trigger.ticked()
    if (now - heardAt < silentMs && source?.readyState !== EventSource.CLOSED) return
    if (store.getSnapshot().context.connection === 'live') store.trigger.lost()
    if (now - openedAt < againMs * 2) return
    // A stream that was refused does not come back by itself, and does not say why.
    void refused().then((isRefused) => (isRefused ? logIn() : open()))
  }

  open()
  setInterval(look, 1000)
  // A page that was asleep may have missed its stream's end.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') look()
  })
}

async function refused(): Promise<boolean> {
  try {
    const { status } = await fetch('/v1/system', { credentials: 'same-origin' })
    return status === 401
  } catch {
    // It is away: not the same as refusing.
    return false
  }
}
