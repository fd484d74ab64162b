/** What `muster top` shows: one look at a node as data, and as lines. Pure. */
import type { NodeLine } from '../../actors/membership.ts'
import type { Run } from '../../actors/ports-runs.ts'
import type { SystemReport } from '../http/system.ts'
import { ago } from './elapsed.ts'
import { progressLine } from './progress.ts'
import { printable } from './report.ts'
import type { MetricSample } from './samples.ts'
import { table } from './table.ts'
import type { Colors } from './terminal.ts'

/** What a node has answered. */
export interface Look {
  /** Epoch ms. */
  at: number
  url: string
  system: SystemReport
  nodes: NodeLine[]
  /** Those that have not ended, newest first. */
  runs: Run[]
  metrics: MetricSample[]
}

export interface TopMailbox {
  mailbox: string
  /** Tasks by state. */
  waiting: number
  active: number
  delayed: number
  settling: number
  oldestSeconds: number
}

/** One object of `muster top --json`. */
export interface TopFrame extends SystemReport {
  at: number
  url: string
  throughput: {
    /** Tasks that ended a second, between the last two looks. */
    tasksPerSecond: number
    /** Since the node was started. */
    ended: number
    /** The 99th percentile of how long tasks waited of late; not there where nobody measures. */
    queueWaitMs?: number
    /** Tasks at hand on this node. */
    atHand?: number
  }
  mailboxes: TopMailbox[]
  runs: (Run & { tasksPerSecond: number })[]
  nodes: NodeLine[]
  /** Not there before the first task of kind `container`. */
  containers?: TopContainers
}

export interface TopContainers {
  available: number
  leased: number
  resetting: number
  replacing: number
  /** Tasks that wait for one. */
  waiting: number
}

/** A line of progress gets no better by being wider. */
const runColumns = 110

/** @param before an earlier look, to tell what happens a second */
export function frameOf(look: Look, before: Look | undefined): TopFrame {
  const { at, url, system, nodes, runs, metrics } = look
  const seconds = before === undefined ? 0 : (at - before.at) / 1000
  const perSecond = (now: number, then: number) =>
    seconds <= 0 ? 0 : Math.max(0, Math.round(((now - then) / seconds) * 10) / 10)
  const ended = endedIn(metrics)
  const sensor = (name: string) => system.health?.sensors.find((each) => each.name === name)?.value
  const queueWaitMs = sensor('queueWait')
  const atHand = sensor('activeWork')
  const containers = containersIn(metrics)
  return {
    ...system,
    at,
    url,
    throughput: {
      tasksPerSecond: before === undefined ? 0 : perSecond(ended, endedIn(before.metrics)),
      ended,
      ...(queueWaitMs === undefined ? {} : { queueWaitMs }),
      ...(atHand === undefined ? {} : { atHand }),
    },
    mailboxes: mailboxesIn(metrics),
    runs: runs.map((run) => {
      const then = before?.runs.find(({ id }) => id === run.id)
      const tasksPerSecond = then === undefined ? 0 : perSecond(done(run), done(then))
      return Object.assign({}, run, { tasksPerSecond })
    }),
    nodes,
    ...(containers === undefined ? {} : { containers }),
  }
}

function containersIn(metrics: readonly MetricSample[]): TopContainers | undefined {
  const slots = metrics.filter(({ name }) => name === 'muster_container_slots')
  if (slots.length === 0) return undefined
  const slot = (wanted: string) =>
    slots.find(({ labels }) => labels['state'] === wanted)?.value ?? 0
  return {
    available: slot('available'),
    leased: slot('leased'),
    resetting: slot('resetting'),
    replacing: slot('replacing'),
    waiting: metrics.find(({ name }) => name === 'muster_container_waiting')?.value ?? 0,
  }
}

function done({ total, counts }: Run): number {
  return total - counts.pending
}

/** Counted by the node that leads the collector; elsewhere what this one has settled. */
function endedIn(metrics: readonly MetricSample[]): number {
  const sum = (wanted: string) => {
    const found = metrics.filter(({ name }) => name === wanted)
    return found.length === 0 ? undefined : found.reduce((all, { value }) => all + value, 0)
  }
  return sum('muster_tasks_total') ?? sum('muster_task_duration_seconds_count') ?? 0
}

function mailboxesIn(metrics: readonly MetricSample[]): TopMailbox[] {
  const all = new Map<string, TopMailbox>()
  for (const { name, labels, value } of metrics) {
    const isAge = name === 'muster_mailbox_oldest_age_seconds'
    if (!isAge && name !== 'muster_mailbox_depth') continue
    const { mailbox = '', state = '' } = labels
    const none = { waiting: 0, active: 0, delayed: 0, settling: 0, oldestSeconds: 0 }
    const found = all.get(mailbox) ?? { mailbox, ...none }
    all.set(mailbox, found)
    if (isAge) found.oldestSeconds = value
    else if (state in none) found[state as 'waiting'] = value
  }
  return [...all.values()].toSorted((one, other) => depthOf(other) - depthOf(one))
}

function depthOf({ waiting, active, delayed, settling }: TopMailbox): number {
  return waiting + active + delayed + settling
}

export interface ScreenSize {
  /** Infinity where nobody knows: nothing is cut then. */
  columns: number
  rows: number
  colors: Colors
}

/** At most `rows` lines, none wider than the screen; where lines are left out there is a `…`. */
export function linesOf(frame: TopFrame, screen: ScreenSize): string[] {
  const { columns, rows } = screen
  const lines = [
    ...headLines(frame, screen),
    '',
    ...runLines(frame, screen),
    ...section(mailboxLines(frame)),
    ...section(nodeLines(frame, screen)),
  ]
  const cut = lines.length <= rows ? lines : [...lines.slice(0, rows - 1), '…']
  return cut.map((line) => clipped(line, columns))
}

function headLines(frame: TopFrame, { colors }: ScreenSize): string[] {
  const { state, since, reason, note, effect, health, throughput, at, url } = frame
  const color = colorOfState(state, colors)
  const { tasksPerSecond, ended, queueWaitMs, atHand } = throughput
  const full = effect.admission === 1 && effect.concurrency === 1
  const share = full ? '' : `  admission × ${effect.admission}, concurrency × ${effect.concurrency}`
  return [
    `${color(state)} for ${ago(since, at).replace(/ ago$/, '')}  ${printable(url)}${share}`,
    flat(note ?? reason),
    ...(health === undefined ? [] : [healthLine(frame, colors)]),
    [
      `${tasksPerSecond} tasks/s`,
      `${ended.toLocaleString('en-US')} ended`,
      ...(atHand === undefined ? [] : [`${atHand} at hand`]),
      ...(queueWaitMs === undefined ? [] : [`queue wait p99 ${Math.round(queueWaitMs)} ms`]),
    ].join('  '),
    ...containerLines(frame),
  ]
}

/** One line: status, score, and how much of it is seen. */
export function healthLine({ health }: SystemReport, colors: Colors): string {
  if (health === undefined) return ''
  const { status, score, coverage, sensors, because } = health
  const color =
    status === 'HEALTHY' ? colors.green : status === 'DEGRADED' ? colors.yellow : colors.red
  const lacking = sensors.flatMap(({ name, state, note = '' }) =>
    state === 'off' || state === 'blind' ? [`${name} ${state}${note && ` (${note})`}`] : [],
  )
  const seen = `${coverage.seeing} of ${coverage.of} sensors`
  return [
    `${color(status)} ${Math.round(score)}`,
    lacking.length === 0 ? seen : `${seen}: ${lacking.join(', ')}`,
    ...because.map(printable),
  ].join('  ')
}

function containerLines({ containers }: TopFrame): string[] {
  if (containers === undefined) return []
  const { waiting, ...states } = containers
  const counts = Object.entries(states).map(([state, count]) => `${count} ${state}`)
  return [`containers: ${counts.join(', ')}; ${waiting} tasks wait for one`]
}

function runLines({ runs }: TopFrame, { columns }: ScreenSize): string[] {
  if (runs.length === 0) return ['no run is under way']
  return runs.map((run) => {
    const width = Math.max(20, Math.min(columns, runColumns) - run.id.length - 2)
    return `${run.id}  ${progressLine(run, { rate: run.tasksPerSecond }, width)}`
  })
}

function mailboxLines({ mailboxes }: TopFrame): string[] {
  const heading = ['MAILBOX', 'WAITING', 'ACTIVE', 'DELAYED', 'SETTLING', 'OLDEST']
  const used = mailboxes.filter((mailbox) => depthOf(mailbox) > 0)
  const rows = used.map(({ mailbox, waiting, active, delayed, settling, oldestSeconds }) => [
    mailbox,
    String(waiting),
    String(active),
    String(delayed),
    String(settling),
    `${Math.round(oldestSeconds * 10) / 10} s`,
  ])
  return rows.length === 0 ? [] : table(heading, rows)
}

function nodeLines({ nodes, at }: TopFrame, { colors }: ScreenSize): string[] {
  const rows = nodes.map(({ id, state, roles, load, lastSeen, host }) => [
    id,
    state,
    roles.join(','),
    String(load),
    ago(lastSeen, at),
    host,
  ])
  return table(['NODE', 'STATE', 'ROLES', 'LOAD', 'SEEN', 'HOST'], rows, (cell, column) => {
    if (column !== 1) return undefined
    return cell.startsWith('alive') ? colors.green : colors.yellow
  })
}

function section(lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', ...lines]
}

function colorOfState(state: string, colors: Colors): (text: string) => string {
  if (state === 'OPERATIONAL') return colors.green
  return state === 'PAUSED' ? colors.red : colors.yellow
}

function flat(text: string): string {
  return printable(text).replace(/\s+/g, ' ')
}

/** As wide as the screen at most; colours take no room, and are closed again. */
function clipped(line: string, columns: number): string {
  return columns === Number.POSITIVE_INFINITY ? line : Bun.sliceAnsi(line, 0, columns)
}
