/**
 * The schema of the result store in PostgreSQL: a list of steps that only grows, each applied once,
 * by whichever node comes first.
 */
import type { ClientBase } from 'pg'
import { UnavailableError } from '../../actors/errors.ts'

/**
 * What many rows have in common stands in `origin`, under a name made of what it says: no two nodes
 * have to agree on a number first. A run goes by its id, sorted as bytes.
 *
 * No hypertables, where there is TimescaleDB: every unique key of one has to hold the time that it
 * is cut by, and with a time in it (run, seq) would let in the second row of a task that ran twice.
 */
const steps: readonly string[] = [
  `create table muster.store (id uuid primary key default gen_random_uuid());
   insert into muster.store default values;
   create table muster.origin (
     id uuid primary key,
     kind text not null,
     attempt integer not null,
     node text not null,
     worker text not null,
     priority text not null
   );
   create table muster.result (
     run text collate "C" not null,
     seq integer not null,
     outcome smallint not null,
     origin uuid not null,
     started_at bigint not null,
     duration_ms double precision not null,
     queue_ms double precision not null,
     more text,
     attempts text,
     task text,
     primary key (run, seq)
   )`,
]

/** Of the advisory lock under which nodes that start at the same time take turns. */
const turn = 5_928_331_207

/**
 * Makes the schema what this version needs.
 * @throws UnavailableError when a later version made it
 */
export async function migrate(client: ClientBase, wanted = steps): Promise<void> {
  if ((await versionOf(client, wanted)) === wanted.length) return
  await client.query('begin')
  try {
    await client.query('select pg_advisory_xact_lock($1)', [turn])
    if (!(await isThere(client, 'select 1 from pg_namespace where nspname = $1', 'muster'))) {
      await client.query('create schema muster')
    }
    await client.query(
      `create table if not exists muster.migration (
         version integer primary key,
         applied_at timestamptz not null default now()
       )`,
    )
    for (let version = await versionOf(client, wanted); version < wanted.length; version += 1) {
      await client.query(wanted[version] ?? '')
      await client.query('insert into muster.migration (version) values ($1)', [version + 1])
    }
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  }
}

/** Steps that are applied. */
async function versionOf(client: ClientBase, wanted: readonly string[]): Promise<number> {
  const table = 'select 1 where to_regclass($1) is not null'
  if (!(await isThere(client, table, 'muster.migration'))) return 0
  const { rows } = await client.query<{ version: number }>(
    'select coalesce(max(version), 0) as version from muster.migration',
  )
  const version = rows[0]?.version ?? 0
  if (version <= wanted.length) return version
  throw new UnavailableError(
    `expected version ${wanted.length} of its schema at most, got version ${version}: ` +
      'a later Muster has been here; use that one',
    { code: 'STORE_VERSION' },
  )
}

async function isThere(client: ClientBase, question: string, name: string): Promise<boolean> {
  return ((await client.query(question, [name])).rowCount ?? 0) > 0
}
