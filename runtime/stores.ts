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
  close(): void
}

export function memoryStores(): Stores {
  return { results: memoryResults(), audit: { append: () => Promise.resolve() }, close() {} }
}

/** @throws DataDirectoryError when a file cannot be made or written */
export function fileStores(config: Config, dataDir: string, log: Log): Stores {
  const { durability } = config.redis
  const { fileBytesMax, filesMax, flushMs } = config.log
  const results = sqliteResults(join(dataDir, 'results.sqlite'), {
    durability,
    syncMs: flushMs,
    log,
  })
  try {
    const directory = join(dataDir, 'audit')
    const audit = auditFiles({ directory, durability, fileBytesMax, filesMax, flushMs, log })
    return {
      results,
      audit,
      close() {
        audit.close()
        results.close()
      },
    }
  } catch (error) {
    results.close()
    throw error
  }
}
