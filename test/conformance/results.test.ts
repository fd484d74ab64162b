import { afterEach, describe } from 'bun:test'
import { join } from 'node:path'
import { memoryResults } from '../../runtime/memory/results.ts'
import { sqliteResults } from '../../runtime/store/sqlite.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { resultsConformance } from './results.ts'

const opened: { close(): void }[] = []
afterEach(() => {
  for (const results of opened.splice(0)) results.close()
})

const open = (file: string) => {
  const results = sqliteResults(file)
  opened.push(results)
  return results
}

describe('results in memory', () => resultsConformance(memoryResults))
describe('results in SQLite without a file', () => resultsConformance(() => open(':memory:')))
describe('results in an SQLite file', () => {
  resultsConformance(() => open(join(temporaryDirectory(), 'results.sqlite')))
})
