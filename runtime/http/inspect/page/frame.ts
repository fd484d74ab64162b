/** What the node says of an actor. */
export interface Frame {
  type: '@xstate.actor' | '@xstate.snapshot' | '@xstate.event'
  sessionId: string
  /** Epoch ms. */
  createdAt: string
  parentId?: string
  sourceId?: string
  snapshot?: { status: string; value?: unknown; context?: unknown; error?: unknown }
  event?: { type: string }
  /** Of what follows, the node alone knows; Stately's protocol does not. */
  path?: string
  machine?: string
  /** Messages of the same actor that are not told. */
  unseen?: number
  /** Messages that this page was too slow for. */
  dropped?: number
}
