/** Publishing from a handler in a thread or process of its own: done on the near side. */
import { describeError, MusterError, UnavailableError } from '../../../actors/errors.ts'
import type { Publish } from '../../../actors/publisher.ts'
import type { Publication, PublishAnswer } from './call.ts'

/** On the near side. */
export async function answerOfPublishing(
  publish: Publish | undefined,
  { topic, data, id }: Publication,
): Promise<PublishAnswer> {
  try {
    if (publish === undefined) throw new UnavailableError('expected a node, to publish to topics')
    return { published: await publish(topic, data, id === undefined ? {} : { id }) }
  } catch (error) {
    const { code, message } = describeError(error)
    return { error: { code, message, isAway: error instanceof UnavailableError } }
  }
}

/** On the far side. */
export function publishOver(ask: (publication: Publication) => Promise<PublishAnswer>): Publish {
  return async (topic, data, { id } = {}) => {
    const answer = await ask({ topic, data: jsonOf(data), ...(id === undefined ? {} : { id }) })
    if ('published' in answer) return answer.published
    const { code, message, isAway } = answer.error
    throw isAway ? new UnavailableError(message, { code }) : new MusterError(code, message)
  }
}

/** What is no JSON might not cross at all; what of it is none is refused where it is published. */
function jsonOf(data: unknown): unknown {
  const text = JSON.stringify(data)
  return text === undefined ? undefined : (JSON.parse(text) as unknown)
}
