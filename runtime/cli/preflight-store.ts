/** Whether the PostgreSQL of `store.url` can hold results. Nothing in it is changed. */
import { describeError } from '../../actors/errors.ts'
import { hidePassword } from '../../config/secret.ts'
import type { Finding } from './preflight.ts'

const timeoutMs = 3000

const question = `
  select current_setting('server_version') as version,
    current_setting('server_encoding') as encoding,
    quote_ident(current_database()) as database,
    quote_ident(current_user) as name,
    to_regclass('muster.migration') is not null
      or has_database_privilege(current_database(), 'create') as fit`

type Answer = Record<'version' | 'encoding' | 'database' | 'name', string> & { fit: boolean }

/** None where results are kept in the data directory. */
export async function checkStore(url: string | undefined): Promise<Finding[]> {
  return url === undefined ? [] : [await look(url)]
}

async function look(url: string): Promise<Finding> {
  const check = 'store'
  try {
    const { version, encoding, database, name, fit } = await ask(url)
    if (encoding !== 'UTF8') {
      const mend = `createdb --encoding=UTF8 --template=template0 muster`
      return { check, status: 'failed', what: `${database} has the encoding ${encoding}`, mend }
    }
    if (!fit) {
      const mend = `psql -d ${database} -c 'grant create on database ${database} to ${name}'`
      return { check, status: 'failed', what: `${name} may not make a schema in ${database}`, mend }
    }
    return { check, status: 'ok', what: `PostgreSQL ${version} at ${hidePassword(url)}` }
  } catch (error) {
    const what = `PostgreSQL at ${hidePassword(url)}: ${describeError(error).message}`
    const mend = 'muster start  # without MUSTER_STORE_URL and store.url: its own SQLite'
    return { check, status: 'failed', what, mend }
  }
}

async function ask(url: string): Promise<Answer> {
  const { Client } = await import('pg')
  const times = { connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs }
  const client = new Client({ connectionString: url, application_name: 'muster doctor', ...times })
  // What breaks the connection fails the question as well.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<Answer>(question)
    const [answer] = rows
    if (answer === undefined) throw new Error('expected one row, got none')
    return answer
  } finally {
    await client.end()
  }
}
