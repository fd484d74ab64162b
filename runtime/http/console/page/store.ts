/** What the page knows: told by the node, loaded for what is looked at, and where the reader is. */
import { createStore } from '@xstate/store'
import type { ConsoleDelta, ConsoleView, Point, RunBrief } from '../wire.ts'
import { type Route, readRoute } from './route.ts'

/** An answer of the node that some view needs, or why there is none. */
export interface Loaded {
  data?: unknown
  error?: string
}

export interface Model {
  /** Undefined until the node has first told. */
  view: ConsoleView | undefined
  connection: 'connecting' | 'live' | 'lost'
  /** Of the node's clock against this one's, ms. */
  skewMs: number
  route: Route
  loaded: Readonly<Record<string, Loaded>>
  /** What the last action came to, for people. */
  said: string
  /** Grows each second, so that times go on. */
  tick: number
}

/** Five minutes of seconds. */
const pointsMax = 300
const runsMax = 300

const initial: Model = {
  view: undefined,
  connection: 'connecting',
  skewMs: 0,
  route: readRoute(location.hash),
  loaded: {},
  said: '',
  tick: 0,
}

export const store = createStore({
  context: initial,
  on: {
    told: (model, { view }: { view: ConsoleView }): Model => ({
      ...model,
      view,
      connection: 'live',
      skewMs: view.now - Date.now(),
    }),
    changed: (model, { delta }: { delta: ConsoleDelta }): Model => {
      if (model.view === undefined) return model
      const { point, runs, ...parts } = delta
      const view = { ...model.view, ...parts }
      if (point !== undefined) view.points = pointsWith(view.points, point)
      if (runs !== undefined) view.runs = runsWith(view.runs, runs)
      return { ...model, view, connection: 'live', skewMs: delta.now - Date.now() }
    },
    lost: (model): Model => ({ ...model, connection: 'lost' }),
    moved: (model, { route }: { route: Route }): Model => ({ ...model, route, said: '' }),
    answered: (model, { path, answer }: { path: string; answer: Loaded }): Model => ({
      ...model,
      loaded: { ...model.loaded, [path]: answer },
    }),
    forgotten: (model, { keep }: { keep: ReadonlySet<string> }): Model => ({
      ...model,
      loaded: Object.fromEntries(Object.entries(model.loaded).filter(([path]) => keep.has(path))),
    }),
    said: (model, { text }: { text: string }): Model => ({ ...model, said: text }),
    ticked: (model): Model => ({ ...model, tick: model.tick + 1 }),
  },
})

function pointsWith(points: readonly Point[], point: Point): Point[] {
  return [...points, point].slice(-pointsMax)
}

/** Newest first; a run that is told again replaces what was known of it. */
function runsWith(before: readonly RunBrief[], changed: readonly RunBrief[]): RunBrief[] {
  const byId = new Map(before.map((run) => [run.id, run]))
  for (const run of changed) byId.set(run.id, run)
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, runsMax)
}
