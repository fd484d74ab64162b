/** Certificates made for a test, with the system's openssl. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const hasOpenssl = Bun.which('openssl') !== null

function openssl(...argv: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(['openssl', ...argv], { stderr: 'pipe' })
  if (exitCode !== 0) throw new Error(`openssl ${argv[0]}: ${stderr.toString()}`)
}

export interface Authority {
  /** PEM file to trust. */
  file: string
  /** A server's key and certificate; valid for so many days from now, below 0: no longer. */
  issue(names: string, days: number): { key: string; cert: string }
}

/** @param directory where its files go */
export function authority(directory: string): Authority {
  const file = join(directory, 'ca.pem')
  const caKey = join(directory, 'ca.key')
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...newKey, '-keyout', caKey, '-out', file, '-subj', '/CN=ca')
  let count = 0
  return {
    file,
    issue(names, days) {
      count += 1
      const [key, request, cert, extensions] = ['key', 'csr', 'pem', 'ext'].map((ending) =>
        join(directory, `server-${count}.${ending}`),
      ) as [string, string, string, string]
      writeFileSync(extensions, `subjectAltName=${names}`)
      openssl('req', ...newKey, '-keyout', key, '-out', request, '-subj', '/CN=server')
      const by = ['-CA', file, '-CAkey', caKey, '-CAcreateserial']
      const until = ['-days', `${days}`, '-extfile', extensions]
      openssl('x509', '-req', '-in', request, '-out', cert, ...by, ...until)
      return { key, cert }
    },
  }
}
