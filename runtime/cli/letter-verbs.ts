/** The verbs about dead letters. */
import { type Command, Option } from 'commander'
import { letterReasons } from '../../actors/ports-letters.ts'
import type { LetterListFlags, RedriveFlags } from './deadletters.ts'
import type { Perform } from './program.ts'

export function addLetterVerbs(program: Command, perform: Perform): void {
  const letters = program
    .command('deadletters')
    .helpCommand(false)
    .description('what could not be delivered or killed its worker, and why; another try')
  addFilterFlags(letters.command('ls'))
    .description('dead letters, newest first')
    .option('--open', 'only those that nobody has redriven')
    .action((flags: LetterListFlags) =>
      perform(async (invocation) =>
        (await import('./deadletters.ts')).letterList(invocation, flags),
      ),
    )
  letters
    .command('show')
    .description('one dead letter with what is in it, and who was lost to it')
    .argument('<ID>')
    .action((id: string) =>
      perform(async (invocation) => (await import('./deadletters.ts')).letterShow(invocation, id)),
    )
  addFilterFlags(letters.command('redrive'))
    .description('run dead tasks again, in a new run, at most 3 times; send messages back')
    .argument('[ID...]', 'those; or a filter')
    .option('--all', 'all that nobody has redriven')
    .option('--reason <TEXT>', 'needed: why, for the record')
    .action((ids: string[], flags: RedriveFlags) =>
      perform(async (invocation) =>
        (await import('./deadletters.ts')).letterRedrive(invocation, ids, flags),
      ),
    )
}

function addFilterFlags(command: Command): Command {
  return command
    .option('--run <RUN>', 'only those of a run')
    .option('--kind <KIND>', 'only those of a kind')
    .option('--mailbox <NAME>', 'only those of a mailbox')
    .addOption(
      new Option('--reason-class <REASON>', 'only those that died of this').choices([
        ...letterReasons,
        'stopped',
      ]),
    )
}
