/** What `/metrics` says, read back: for those who show it. */

export interface MetricSample {
  name: string
  labels: Readonly<Record<string, string>>
  value: number
}

/** One sample a line; what is none is passed over. */
export function readSamples(text: string): MetricSample[] {
  return text.split('\n').flatMap((line) => {
    const found = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/.exec(line)
    const value = Number(found?.[3])
    if (found === null || !Number.isFinite(value)) return []
    return [{ name: found[1] ?? '', labels: labelsOf(found[2] ?? ''), value }]
  })
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [, name = '', value = ''] of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one))
  }
  return labels
}
