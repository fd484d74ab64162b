/** What every implementation of the probes port keeps. */
import { describe, expect, test } from 'bun:test'
import type { Probes } from '../../actors/ports-probe.ts'

export interface ProbesUnderTest {
  probes(): Promise<Probes>
  /** URLs of endpoints that are well, that are not, that never answer, and where nobody is. */
  urls: Record<'well' | 'sick' | 'silent' | 'nobody', string>
}

export function probesConformance(name: string, { probes, urls }: ProbesUnderTest): void {
  const codeOf = (error: unknown) => (error as { code?: string }).code

  describe(`probes (${name})`, () => {
    test('tell apart who is well, who is not, and who is not there', async () => {
      const port = await probes()
      const never = new AbortController().signal
      const codes = await Promise.all(
        (['well', 'sick', 'nobody'] as const).map((which) =>
          port.probe({ name: which, url: urls[which] }, never).then(() => 'ok', codeOf),
        ),
      )
      expect(codes).toEqual(['ok', 'HTTP_STATUS', 'ECONNREFUSED'])
      await port.close()
    })

    test('wait for one that is silent until nobody wants to hear of it any more', async () => {
      const port = await probes()
      const patience = new AbortController()
      const end = port
        .probe({ name: 'silent', url: urls.silent }, patience.signal)
        .then(() => 'ok', codeOf)
      await port.probe({ name: 'well', url: urls.well }, patience.signal)
      patience.abort()
      expect(await end).toBe('ABORTED')
      const late = port.probe({ name: 'well', url: urls.well }, patience.signal)
      expect(await late.then(() => 'ok', codeOf)).toBe('ABORTED')
      await port.close()
    })
  })
}
