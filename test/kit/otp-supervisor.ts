/** The supervisors of Erlang/OTP, where they are installed: what ours are compared with. */
import { join } from 'node:path'

export interface OtpChild {
  id: string
  restart: 'permanent' | 'transient' | 'temporary'
  significant: boolean
}

export type OtpStep =
  | { verb: 'crash' | 'normal' | 'remove'; id: string }
  | { verb: 'add'; child: OtpChild }
  /** Both crash, before the supervisor has dealt with the first. */
  | { verb: 'both'; id: string; second: string }

/** As `during` is being started for the first time, a child that is up crashes or ends. */
export interface OtpFall {
  during: string
  verb: 'crash' | 'normal'
  id: string
}

export interface OtpCase {
  strategy: 'one_for_one' | 'one_for_all' | 'rest_for_one' | 'simple_one_for_one'
  intensity: number
  autoShutdown: 'never' | 'any_significant' | 'all_significant'
  children: readonly OtpChild[]
  /** In the first start, in this order; none of a dynamic supervisor, whose children come later. */
  falls: readonly OtpFall[]
  steps: readonly OtpStep[]
}

export interface OtpRun {
  release: number
  /** For each case the lines of its start and of its steps, as otp-supervisor.escript has them. */
  told: string[][]
}

export function hasErlang(): boolean {
  return Bun.which('escript') !== null
}

/** Lets supervisors of Erlang/OTP live through the cases, one after the other. */
export async function runOtpSupervisors(cases: readonly OtpCase[]): Promise<OtpRun> {
  const child = Bun.spawn(['escript', join(import.meta.dir, 'otp-supervisor.escript')], {
    stdin: new Blob([cases.map(termOf).join('')]),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [out, problems, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (code !== 0) throw new Error(`escript: expected exit code 0, got ${code}: ${problems}${out}`)
  const [release, ...lines] = out.split('\n')
  const told: string[][] = [[]]
  for (const line of lines) {
    if (line === '') told.push([])
    else told.at(-1)?.push(line)
  }
  return { release: Number(release), told: told.slice(0, cases.length) }
}

function termOf(one: OtpCase): string {
  const { strategy, intensity, autoShutdown, children, falls, steps } = one
  const childTerm = ({ id, restart, significant }: OtpChild) => `{${id},${restart},${significant}}`
  const stepTerm = (step: OtpStep) => {
    if (step.verb === 'add') return `{add,${childTerm(step.child)}}`
    if (step.verb === 'both') return `{both,${step.id},${step.second}}`
    return `{${step.verb},${step.id}}`
  }
  const fallTerm = ({ during, verb, id }: OtpFall) => `{${during},${verb},${id}}`
  const terms = [children.map(childTerm), falls.map(fallTerm), steps.map(stepTerm)]
  const lists = terms.map((list) => `[${list.join()}]`)
  return `{${strategy},${intensity},${autoShutdown},${lists.join()}}.\n`
}
