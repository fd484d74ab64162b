/** The text format of Prometheus, read strictly: what is not as it should be throws. */
import { spawnSync } from 'node:child_process'

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

interface Family {
  type: string
  samples: Sample[]
}

export interface Exposition {
  families: Map<string, Family>
  /** The value of the sample that has exactly these labels; undefined when there is none. */
  value(name: string, labels?: Record<string, string>): number | undefined
  samples: readonly Sample[]
}

const types = new Set(['counter', 'gauge', 'histogram', 'summary'])
const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/
const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y

/** @throws Error naming the line that cannot be read, or the family that contradicts itself */
export function readExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('expected the text to end with a line break')
  const families = new Map<string, Family>()
  const helped = new Set<string>()
  let current: (Family & { name: string }) | undefined
  for (const line of text.split('\n')) {
    const [, word, about = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (word === 'HELP') {
      if (helped.has(about)) throw new Error(`${about} is explained twice`)
      helped.add(about)
    } else if (word === 'TYPE') {
      if (!types.has(rest) || families.has(about) || !helped.has(about)) {
        throw new Error(`expected one HELP and one TYPE, in this order, got: ${line}`)
      }
      current = { name: about, type: rest, samples: [] }
      families.set(about, current)
    } else if (line !== '') {
      const sample = readSample(line)
      if (current === undefined || familyOf(sample.name, current.type) !== current.name) {
        throw new Error(`this sample does not stand with its family: ${line}`)
      }
      current.samples.push(sample)
    }
  }
  for (const [name, family] of families) check(name, family)
  const samples = [...families.values()].flatMap((family) => family.samples)
  const value = (name: string, labels: Record<string, string> = {}) =>
    samples.find((sample) => sample.name === name && Bun.deepEquals(sample.labels, labels))?.value
  return { families, samples, value }
}

function readSample(line: string): Sample {
  const [, name = '', inner = '', number = ''] = sampleLine.exec(line) ?? []
  const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number)
  if (name === '' || number === '' || Number.isNaN(value)) throw new Error(`no sample: ${line}`)
  const labels: Record<string, string> = {}
  label.lastIndex = 0
  while (label.lastIndex < inner.length) {
    const [, key, text] = label.exec(inner) ?? []
    if (key === undefined || text === undefined || key in labels) {
      throw new Error(`expected labels, each once, got: ${line}`)
    }
    labels[key] = text
  }
  return { name, labels, value }
}

function familyOf(sample: string, type: string): string {
  if (type === 'histogram') return sample.replace(/_(bucket|sum|count)$/, '')
  return type === 'summary' ? sample.replace(/_(sum|count)$/, '') : sample
}

function check(name: string, { type, samples }: Family): void {
  if (type === 'counter' && !name.endsWith('_total')) throw new Error(`${name} is a counter`)
  const series = new Set(samples.map((sample) => JSON.stringify([sample.name, sample.labels])))
  if (series.size < samples.length) throw new Error(`${name} has a series twice`)
  if (type !== 'gauge' && samples.some(({ value }) => value < 0)) throw new Error(`${name} < 0`)
  if (type === 'histogram') checkBuckets(name, samples)
}

function checkBuckets(name: string, samples: readonly Sample[]): void {
  const bySeries = Map.groupBy(samples, ({ labels: { le: _, ...own } }) => JSON.stringify(own))
  for (const [own, of] of bySeries) {
    const buckets = of.filter((sample) => sample.name === `${name}_bucket`)
    const bounds = buckets.map(({ labels }) => Number(labels['le']?.replace('+Inf', 'Infinity')))
    const counts = buckets.map(({ value }) => value)
    const count = of.find((sample) => sample.name === `${name}_count`)?.value
    const grows = (numbers: number[]) =>
      numbers.every((n, i) => i === 0 || n >= (numbers[i - 1] ?? 0))
    const isWhole =
      grows(bounds) &&
      grows(counts) &&
      bounds.at(-1) === Number.POSITIVE_INFINITY &&
      counts.at(-1) === count &&
      of.some((sample) => sample.name === `${name}_sum`)
    if (!isWhole) throw new Error(`${name}${own} is no histogram`)
  }
}

/** What Prometheus's own tool says of it; undefined when the tool is not on this machine. */
export function lint(text: string): { exitCode: number | null; said: string } | undefined {
  const tool = Bun.which('promtool')
  if (tool === null) return undefined
  const options = { input: text, encoding: 'utf8' } as const
  const { status, stdout, stderr } = spawnSync(tool, ['check', 'metrics'], options)
  return { exitCode: status, said: `${stdout}${stderr}` }
}
