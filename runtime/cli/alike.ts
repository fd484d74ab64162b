/** What outputs of different tasks have in common, once what differs without meaning is masked. */

const marks: readonly (readonly [RegExp, string])[] = [
  // Ids and digests before numbers, which they are made of.
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, '{uuid}'],
  [/\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?/g, '{time}'],
  [/\b\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\b/g, '{time}'],
  [/\b0x[0-9a-f]+\b/gi, '{hex}'],
  [/\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b/gi, '{hex}'],
  [/\d+(?:[.,:]\d+)*/g, '{n}'],
]

/** Times, ids, addresses and numbers as `{time}`, `{uuid}`, `{hex}` and `{n}`. */
export function similar(text: string): string {
  let masked = text
  for (const [pattern, mark] of marks) masked = masked.replace(pattern, mark)
  return masked
}

/** The name of the host that said it, wherever it stands as a word of its own, as `{host}`. */
export function withoutHost(text: string, host: string): string {
  if (!text.includes(host)) return text
  const name = host.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  return text.replace(new RegExp(`(?<![\\w.-])${name}(?![\\w-])`, 'g'), '{host}')
}
