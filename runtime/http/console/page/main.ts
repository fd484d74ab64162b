/** The console's page: what the store holds is drawn, at most once a frame. */
import { patch } from './dom.ts'
import { live } from './live.ts'
import { begin, settle } from './loader.ts'
import { readRoute } from './route.ts'
import { shell } from './shell.ts'
import { type Model, store } from './store.ts'

const root = document.querySelector('#console')
if (root === null) throw new Error('expected an element #console in the page')

let isDue = false
let last: Model | undefined

function draw(): void {
  isDue = false
  const model = store.getSnapshot().context
  if (model === last || root === null) return
  const isFirst = last === undefined
  last = model
  const focused = document.activeElement
  begin()
  patch(root, [shell(model)])
  settle()
  if (isFirst) showWhere()
  // What had the focus is gone with its row: reading goes on at the heading, not at the top.
  if (focused !== null && focused !== document.body && !focused.isConnected) focusHeading()
}

/** On a narrow screen the way to the other views is longer than the screen. */
function showWhere(): void {
  const here = document.querySelector('.top nav [aria-current]')
  here?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
}

function schedule(): void {
  if (isDue) return
  isDue = true
  // Frames stop where nobody looks, and the title goes on.
  if (document.visibilityState === 'visible') requestAnimationFrame(draw)
  else setTimeout(draw, 1000)
}

function focusHeading(): void {
  const heading = document.querySelector<HTMLElement>('main h1')
  heading?.focus({ preventScroll: true })
}

store.subscribe(schedule)
addEventListener('hashchange', () => {
  store.trigger.moved({ route: readRoute(location.hash) })
  draw()
  showWhere()
  scrollTo(0, 0)
  focusHeading()
})
document.addEventListener('visibilitychange', schedule)
// What the page came with is painted first; the first drawing is of what the node tells.
live()
