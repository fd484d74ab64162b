/**
 * A process that outlives this one by a moment: when this one is gone, however that came, it kills
 * the commands that still run. It is the system's own /bin/sh with nothing but built-ins, because
 * it must be small; no word of any task ever reaches it, only numbers of processes.
 */
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'

/**
 * Reads `+PID` and `-PID` of process groups. The end of its input without a `q` is the end of this
 * process. The arguments are directories of cgroups, whose children are killed as well.
 */
const script = `
groups=' '
while read -r line; do
  pid=\${line#?}
  case $line in
    +*) groups="$groups$pid " ;;
    q) exit 0 ;;
    -*) case $groups in *" $pid "*) groups="\${groups%%" $pid "*} \${groups#*" $pid "}" ;; esac ;;
  esac
done
for pid in $groups; do kill -9 -- "-$pid"; done
for base in "$@"; do
  for cell in "$base"/*/; do
    if [ -e "\${cell}cgroup.kill" ]; then echo 1 > "\${cell}cgroup.kill"
    elif [ -e "\${cell}cgroup.procs" ]; then
      for look in 1 2 3 4 5; do
        while read -r pid; do kill -9 "$pid"; done < "\${cell}cgroup.procs"
      done
    fi
  done
done
`

export interface Guardian {
  /** What is in the cgroups is not to outlive us. */
  wake(): void
  /** This group is not to outlive us. */
  watch(pid: number): void
  forget(pid: number): void
  close(): void
}

async function write(sink: Bun.FileSink | undefined, line: string): Promise<void> {
  await sink?.write(line)
  await sink?.flush()
}

/** Comes to life with the first that it has to watch. */
export function guardian(bases: readonly string[], log: Log): Guardian {
  let child: Bun.Subprocess<'pipe', 'ignore', 'ignore'> | undefined
  const watched = new Set<number>()
  let isClosed = false

  const tell = (line: string) => {
    void write(child?.stdin, line).catch((error: unknown) => {
      log.debug(describeError(error), 'the guardian of the commands cannot be told')
    })
  }

  const start = () => {
    try {
      const started = Bun.spawn(['/bin/sh', '-c', script, 'muster-guardian', ...bases], {
        // Not killed with our group, and not a directory held for ever.
        detached: true,
        cwd: '/',
        env: {},
        stdio: ['pipe', 'ignore', 'ignore'],
        onExit: () => {
          if (child === started) child = undefined
        },
      })
      started.unref()
      child = started
      for (const pid of watched) tell(`+${pid}\n`)
    } catch (error) {
      isClosed = true
      const what = 'no guardian: commands may outlive this process when it is killed'
      log.warn(describeError(error), what)
    }
  }

  return {
    wake() {
      if (child === undefined && !isClosed) start()
    },
    watch(pid) {
      watched.add(pid)
      if (child === undefined && !isClosed) start()
      else tell(`+${pid}\n`)
    },
    forget(pid) {
      if (watched.delete(pid)) tell(`-${pid}\n`)
    },
    close() {
      isClosed = true
      tell('q\n')
      void child?.stdin.end()
      child = undefined
    },
  }
}
