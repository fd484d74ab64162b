/** Where results and audit lines are kept: files of the data directory, or memory. */
import { join } from 'node:path'
import type { AuditLog, Log, Results } from '../actors/ports.ts'
import type { Config } from '../config/schema.ts'
import { auditFiles } from './log/audit.ts'
import { memoryResults } from './memory/results.ts'
import { sqliteResults } from './store/sqlite.ts'

export interface Stores {
  results: Results
  audit: AuditLog
  close(): Promise<void>
}

export function memoryStores(): Stores {
  const nothing = () => Promise.resolve()
  const audit = { append: nothing, appendResults: nothing }
  return { results: memoryResults(), audit, close: nothing }
}

export interface FileStoresOptions {
  config: Pick<Config, 'redis' | 'log'>
  dataDir: string
  log: Pick<Log, 'warn'>
}

/** @throws DataDirectoryError when a file cannot be made or written */
export function auditOf({
  config,
  dataDir,
  log,
}: FileStoresOptions): AuditLog & { close(): Promise<void> } {
  const { durability } = config.redis
  const { fileBytesMax, filesMax, flushMs } = config.log
  const directory = join(dataDir, 'audit')
  return auditFiles({ directory, durability, fileBytesMax, filesMax, flushMs, log })
}

/** @throws DataDirectoryError when a file cannot be made or written */
export function fileStores({ config, dataDir, log }: FileStoresOptions): Stores {
  const { durability } = config.redis
  const file = join(dataDir, 'results.sqlite')
  const results = sqliteResults(file, { durability, syncMs: config.log.flushMs, log })
  try {
    const audit = auditOf({ config, dataDir, log })
    return {
      results,
      audit,
      async close() {
        const closed = audit.close()
        results.close()
        await closed
      },
    }
  } catch (error) {
    results.close()
    throw error
  }
}
