/**
 * Faults of the systems that this one follows, by their number in the inventory of those, and the
 * tests that hold that they are not repeated here: file, and name of a test in it.
 */
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

type Held = readonly [fault: string, ...tests: readonly (readonly [file: string, name: string])[]]

const gather = 'actors/gather.test.ts'
const subscription = 'actors/subscription.test.ts'
const balancer = 'machines/balancer.test.ts'
const mailboxes = 'conformance/mailboxes.ts'

const held: Record<string, Held> = {
  'C-05': [
    'what a dead consumer had was not delivered again',
    [subscription, 'has its message back when its holder dies in the middle of it'],
    [mailboxes, 'a message of one that is gone for good says so, once'],
  ],
  'C-06': [
    'unread messages were dropped to make room',
    ['actors/publisher.test.ts', 'to a subscription that is full is refused, and nobody gets it'],
  ],
  'C-11': [
    'patterns were subscribed to and never matched',
    [subscription, 'handles what is published on its pattern, in order, and nothing else'],
  ],
  'C-17': [
    'the lease of a dead holder never ended',
    ['conformance/leases.ts', 'when the ttl has passed another gets it, at a later epoch'],
  ],
  'C-22': [
    'a lost lease was still shown as held',
    [
      'runtime/metrics.test.ts',
      'a lease that is lost is not held; the one who gets it back has taken over',
    ],
  ],
  'C-28': [
    'an error ended the process, and with exit code 0',
    [subscription, 'tries a message as often as it may, keeps it as a dead letter, and goes on'],
    [
      'runtime/giving-up.test.ts',
      'closes its intake, finishes what it runs, gives its leases back and ends 70',
    ],
  ],
  'C-31': [
    'what was for another shard was skipped, and acknowledged',
    ['actors/shards.test.ts', 'are each worked off by one node, the one that all agree on'],
    [subscription, 'of another pattern under the same name has a mailbox of its own'],
  ],
  'D-03': [
    'a set was opened by its first result, with nobody expected',
    [gather, 'that nobody opened takes nothing, and its result does not vanish'],
    [
      'machines/gather.test.ts',
      'of which nobody is expected is refused: it would be complete at once',
    ],
  ],
  'D-06': [
    'what was partial said that it was complete',
    ['machines/gather.test.ts', 'that ends early is partial and names who is missing'],
  ],
  'D-07': [
    'a late result opened its set again',
    [gather, 'that is over is not opened again by a late result, which is told of'],
  ],
  'D-13': [
    'back-pressure latched',
    [
      'machines/gather.test.ts',
      'does not latch: whatever came before, an empty queue is taken from again',
    ],
    [gather, 'holds results back at 80 % and lets them in again at 50 %, by reading alone'],
  ],
  'D-14': [
    'nothing was ever complete, and what ran out of time was not told',
    [gather, 'tells each result as it comes, and its end when every source has answered'],
    [gather, 'opened but not answered ends exactly at its time, partial, with what came'],
  ],
  'D-15': [
    'a complete set was told again with every further result, and to one subscriber alone',
    [gather, 'that is complete ends once, whatever comes after'],
    [subscription, 'leaves to every group a copy of its own'],
  ],
  'D-21': [
    'the busiest had the highest score',
    [balancer, 'of one with more than it can count is never above that of an idle one (D-21)'],
  ],
  'D-22': [
    'who was new was never chosen',
    [balancer, 'of a node that nothing is known of is that of a good one (D-22)'],
  ],
  'D-24': [
    'figures were kept and not used, and the time of the last beat never set',
    [balancer, 'goes by every figure that is kept of a node, in some strategy (D-24)'],
    ['actors/router.test.ts', 'goes by the newest beat of each node, and by its silence (D-24)'],
  ],
  'D-29': [
    'turns were lost where the order of the nodes was not the same',
    [balancer, 'goes on in a new pool where the last one stopped (D-29)'],
    [
      'actors/router.test.ts',
      'goes round in turns, also when what it knows of the nodes is renewed',
    ],
  ],
  'D-35': [
    'what found nobody was queued twice, and tried again without a pause',
    [mailboxes, 'the same id again adds nothing while the message is there'],
    ['actors/strays.test.ts', 'is done after all by a node that comes while it is waited for'],
  ],
  'D-36': [
    'what came back was never counted',
    [mailboxes, 'a message whose handling fails comes back at the head, counted'],
    [subscription, 'makes a dead letter of a message that takes its holder down again and again'],
  ],
  'D-43': [
    'the first error ended the monitor',
    ['actors/coordinator-trouble.test.ts', 'never ends it, and is told once a look'],
    ['actors/strays.test.ts', 'goes to others though the first looks fail (D-43)'],
  ],
  'D-48': [
    'three missed beats brought no fail-over about',
    ['actors/coordinator.test.ts', 'sweeps a dead node once, and within its time of silence'],
  ],
  'D-51': [
    'the ladder of recovery ended before its last rung',
    [
      'actors/worker-process.test.ts',
      'sick in every life climbs the whole ladder each time, and is given up',
    ],
    ['machines/worker-process.test.ts', 'that heard it and does not end all the same is killed'],
  ],
  'D-53': [
    'somebody else beat for a child that hung, and it was restarted without a pause or an end',
    [
      'actors/worker-process.test.ts',
      'that says nothing is killed, counted as hung, and its messages go back',
    ],
    ['cluster/worker-processes.test.ts', 'kills one that is frozen, and starts it anew'],
    [
      'machines/supervision.test.ts',
      'ends a child that crashes at once, exactly when it is reachable',
    ],
  ],
  'E-66': [
    'who recovered stayed in its cooldown, and what was known was lost with who knew it',
    [
      'machines/prober.test.ts',
      'that recovers is usable at once: neither the state nor the cooldown stays',
    ],
    ['actors/prober.test.ts', 'goes on from what the one before knew of the same endpoints'],
  ],
}

describe('a fault of an earlier system', () => {
  test.each(Object.entries(held))('%s is held off by a test', (_row, [, ...tests]) => {
    expect(tests.length).toBeGreaterThan(0)
    for (const [file, name] of tests) {
      const source = readFileSync(join(import.meta.dir, file), 'utf8')
      expect(source).toContain(`test('${name}'`)
    }
  })
})
