/** `muster completion`: a script for the shell, made of the verbs and flags that are there. */
import type { Command } from 'commander'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

export async function completion(
  invocation: Invocation,
  shell: Shell,
  program: Command,
): Promise<number> {
  await invocation.terminal.print(completionScript(shell, program))
  return exitCodes.ok
}

export function completionScript(shell: Shell, program: Command): string {
  const verbs = program.commands.map((verb) => ({
    name: verb.name(),
    description: verb.description(),
    subverbs: verb.commands.map((each) => each.name()),
    flags: [verb, ...verb.commands].flatMap(flagsOf),
  }))
  const globals = flagsOf(program)
  if (shell === 'fish') return fishScript(verbs, globals)
  const bash = bashScript(verbs, globals)
  return shell === 'bash'
    ? bash
    : `#compdef muster\nautoload -U +X bashcompinit && bashcompinit\n${bash}`
}

interface Verb {
  name: string
  description: string
  /** `ls` of `lease ls`. */
  subverbs: string[]
  flags: string[]
}

function flagsOf(command: Command): string[] {
  return command.options.flatMap((option) => (option.long == null ? [] : [option.long]))
}

function bashScript(verbs: Verb[], globals: string[]): string {
  const cases = verbs.map(
    (verb) =>
      `    ${verb.name}) words='${[...verb.subverbs, ...verb.flags, ...globals].join(' ')}' ;;`,
  )
  return `_muster() {
  local word=\${COMP_WORDS[COMP_CWORD]} verb='' words='' each
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $each in -*) ;; *) verb=$each; break ;; esac
  done
  case $verb in
    '') words='${[...verbs.map((verb) => verb.name), ...globals].join(' ')}' ;;
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [[ $word != -* && -n $verb ]]; then COMPREPLY+=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _muster muster
`
}

function fishScript(verbs: Verb[], globals: string[]): string {
  const names = verbs.map((verb) => verb.name).join(' ')
  const atStart = `-n 'not __fish_seen_subcommand_from ${names}' -f`
  const lines = verbs.flatMap((verb) => [
    `complete -c muster ${atStart} -a ${verb.name} -d ${quote(verb.description)}`,
    ...verb.subverbs.map(
      (name) => `complete -c muster -n '__fish_seen_subcommand_from ${verb.name}' -f -a ${name}`,
    ),
    ...verb.flags.map(
      (flag) =>
        `complete -c muster -n '__fish_seen_subcommand_from ${verb.name}' -l ${flag.slice(2)}`,
    ),
  ])
  const everywhere = globals.map((flag) => `complete -c muster -l ${flag.slice(2)}`)
  return `${[...lines, ...everywhere].join('\n')}\n`
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`
}
