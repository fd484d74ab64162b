/**
 * Topics and the patterns that stand for several of them. Segments between dots: in a pattern `*`
 * is any one segment, and `>`, which comes last, is all that follow: one or more.
 */

const segment = /^[A-Za-z0-9_-]+$/
const segmentsMax = 16
const topicLengthMax = 512
const patternLengthMax = 256
/** First segments of topics that Muster keeps for itself. */
const reserved: readonly string[] = ['system', 'debug']

const grammar = "segments of letters, digits, '_' and '-', with dots between them"

/** What is wrong with a topic, or undefined. */
export function flawOfTopic(topic: unknown): string | undefined {
  const flaw = flawOf(topic, topicLengthMax)
  if (flaw !== undefined || typeof topic !== 'string') return flaw ?? grammar
  const segments = topic.split('.')
  if (!segments.every((each) => segment.test(each))) return `expected ${grammar}`
  return reserved.includes(segments[0] ?? '')
    ? `expected a first segment other than ${reserved.join(' and ')}, which are reserved`
    : undefined
}

/** What is wrong with a pattern, or undefined. */
export function flawOfPattern(pattern: unknown): string | undefined {
  const flaw = flawOf(pattern, patternLengthMax)
  if (flaw !== undefined || typeof pattern !== 'string') return flaw ?? grammar
  const segments = pattern.split('.')
  const isFit = (each: string, index: number) =>
    each === '*' || segment.test(each) || (each === '>' && index === segments.length - 1)
  return segments.every(isFit)
    ? undefined
    : `expected ${grammar}; '*' in place of any one, '>' in place of all from the last on`
}

function flawOf(name: unknown, lengthMax: number): string | undefined {
  if (typeof name !== 'string') return `expected a string: ${grammar}`
  if (name.length > lengthMax) return `expected at most ${lengthMax} characters`
  if (name.split('.').length > segmentsMax) return `expected at most ${segmentsMax} segments`
  return undefined
}

/** Whether a pattern stands for a topic; both are to be without flaw. */
export function matches(pattern: string, topic: string): boolean {
  const wanted = pattern.split('.')
  const segments = topic.split('.')
  for (const [index, each] of wanted.entries()) {
    if (index >= segments.length) return false
    if (each === '>') return true
    if (each !== '*' && each !== segments[index]) return false
  }
  return wanted.length === segments.length
}
