/** The words that ssh is given, and what it means by its own. */

/** One word for whatever shell is there: nothing between single quotes means anything. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

/** `[user@]host[:port]` as words; an address with more than one colon is all host. */
export function destinationOf(address: string): string[] {
  const [, user = '', bracketed, plain, port] =
    /^([^@]*@)?(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(address) ?? []
  const host = bracketed ?? plain
  if (host === undefined) return ['--', address]
  return [...(port === undefined ? [] : ['-p', port]), '--', `${user}${host}`]
}

export interface RemoteCommand {
  argv: readonly string[]
  cwd?: string | undefined
  env: Readonly<Record<string, string>>
  /** By which it is found again, to be ended. */
  token: string
}

/**
 * The shell stays, as the leader of its group, with the token among its words; in the end it ends
 * whoever else is in that, as here. In one line: to csh a quoted one is no word.
 */
const wrapper = [
  'cd -- "$1" || exit 126; shift; env -- "$@"; c=$?;',
  'set -- $(ps -e -o pid= -o pgid= 2>/dev/null || ps -o pid,pgid 2>/dev/null);',
  'while [ $# -gt 1 ]; do [ "$2" = $$ ] && [ "$1" -ne $$ ] && kill -s KILL "$1" 2>/dev/null;',
  'shift 2; done; exit $c',
].join(' ')

/** What the login shell there gets to read: a command of plain words. */
export function remoteLine({ argv, cwd = '.', env, token }: RemoteCommand): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const words = ['sh', '-c', wrapper, nameOf(token), cwd, ...variables, ...guarded(argv)]
  return `exec ${words.map(quote).join(' ')}`
}

/** A program whose name looks like a variable would be one to `env`. */
function guarded(argv: readonly string[]): readonly string[] {
  const [program = ''] = argv
  return program.includes('=') ? ['sh', '-c', '"$@"', 'sh', ...argv] : argv
}

function nameOf(token: string): string {
  return `muster-${token}`
}

/** Ends the group of a command by its token: SIGTERM, and in the end SIGKILL. */
export function endScript(token: string, graceSeconds: number): string {
  // A pattern that does not match itself, or the script would end itself as well.
  const pattern = `*${nameOf(token).replace('-', '[-]')}*`
  const script = [
    'list() { ps -e -o pgid= -o args= 2>/dev/null || ps -o pgid,args; };',
    `groups() { list | while read -r g a; do case "$a" in ${pattern}) echo "$g";; esac; done; };`,
    'all=$(groups);',
    'end() { for g in $all; do kill -s "$1" -- "-$g" 2>/dev/null; done; };',
    'lives() { for g in $all; do kill -0 -- "-$g" 2>/dev/null && return 0; done; return 1; };',
    'end TERM;',
    `n=0; while [ "$n" -lt ${graceSeconds * 10} ] && lives; do`,
    'sleep 0.1 2>/dev/null || { sleep 1; n=$((n + 9)); }; n=$((n + 1)); done;',
    'end KILL; exit 0',
  ].join(' ')
  return `exec sh -c ${quote(script)}`
}

const problems: readonly (readonly [RegExp, string])[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed/i,
    'its host key is not the one that is known of it: somebody else may have answered; ' +
      'if it is right, remove the old key with ssh-keygen -R',
  ],
  [
    /No \S+ host key is known|Host key verification failed/i,
    'its host key is not known: log in to it once by hand, or add it with ssh-keyscan',
  ],
  [/Permission denied|Too many authentication failures/i, 'it refused the login'],
]

/** Why there is no connection, by what ssh said. */
export function connectionProblem(stderr: string, connectMs: number): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^[@\s]+$/.test(line))
  const last = lines.at(-1) ?? `no answer within ${connectMs} ms`
  const why = problems.find(([pattern]) => pattern.test(stderr))?.[1]
  return why === undefined ? `ssh: ${last.replace(/^ssh: /, '')}` : `ssh: ${why} (${last})`
}
