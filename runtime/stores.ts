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
export function fileStores({ config, dataDir, log }: FileStoresOptions): Stores {
  const { durability } = config.redis
  const { fileBytesMax, filesMax, flushMs } = config.log
  const file = join(dataDir, 'results.sqlite')
  const results = sqliteResults(file, { durability, syncMs: flushMs, log })
  try {
    const directory = join(dataDir, 'audit')
    const audit = auditFiles({ directory, durability, fileBytesMax, filesMax, flushMs, log })
    return {
      results,
      audit,
      async close() {
        audit.close()
        results.close()
      },
    }
  } catch (error) {
    results.close()
    throw error
  }
}
