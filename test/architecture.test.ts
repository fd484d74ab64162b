/**
 * The architecture, held: which layer may import which, and the habits no linter knows. Every rule
 * brings offences of its own and is shown to catch them.
 */
import { describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { importsOf, lineAt, listFiles, readSource, type SourceFile, source } from './kit/sources.ts'

interface Rule {
  fact: string
  /** Each offence in one sentence, which begins with file and line. */
  find(files: readonly SourceFile[]): string[]
  /** Files that break the rule, and how each offence begins. */
  catches: readonly (readonly [path: string, text: string, offence: string | string[]])[]
}

const root = dirname(import.meta.dir)
const layers = ['machines', 'actors', 'config', 'runtime', 'test', 'bench']

/** What each layer may import: layers, packages, and schemes that end in a colon. */
const mayImport: Record<string, readonly string[] | undefined> = {
  machines: ['machines', 'xstate'],
  actors: ['actors', 'machines', 'xstate', '@xstate/store', 'zod'],
  config: ['config', 'zod'],
  // Shipped audits are written as a user writes his: against the package.
  'config/tasks': ['config', 'zod', 'muster'],
  runtime: ['runtime', 'actors', 'machines', 'config', 'node:', 'bun:', 'bun', ...dependencies()],
}

const importDirection: Rule = {
  fact: 'imports go down only',
  find: (files) =>
    files.flatMap((file) => {
      const place = file.path.startsWith('config/tasks/') ? 'config/tasks' : layerOf(file.path)
      const allowed = mayImport[place]
      if (!allowed) return []
      return importsOf(file)
        .filter(({ target }) => !allowed.some((name) => covers(name, target)))
        .map(
          ({ target, line }) =>
            `${file.path}:${line} imports ${target}; ${place} may import ${allowed.join(', ')}`,
        )
    }),
  catches: [
    [
      'machines/lease.ts',
      "import { setup } from 'xstate'\nimport type { Node } from '../runtime/node.ts'",
      'machines/lease.ts:2 imports runtime/node.ts',
    ],
    ['actors/lease.ts', "\nimport {\n  a,\n} from 'ioredis'", 'actors/lease.ts:2 imports ioredis'],
    ['config/load.ts', "import 'node:fs'", 'config/load.ts:1 imports node:fs'],
    [
      'runtime/node.ts',
      "const a = await import('fast-check')",
      'runtime/node.ts:1 imports fast-check',
    ],
    ['runtime/a.ts', "export { b } from '../test/b.ts'", 'runtime/a.ts:1 imports test/b.ts'],
  ],
}

/** Type-only imports are gone when the program runs, so they close no circle. */
const noCycles: Rule = {
  fact: 'no files of a layer import each other in a circle',
  find: (files) => {
    const importers = new Map(
      files.map((file) => [
        file.path,
        importsOf(file).filter(
          ({ typeOnly, target }) => !typeOnly && layerOf(target) === layerOf(file.path),
        ),
      ]),
    )
    const circles = new Map<string, string>()
    const visited = new Set<string>()
    const visit = (path: string, trail: readonly { path: string; line: number }[]): void => {
      const start = trail.findIndex((step) => step.path === path)
      if (start >= 0) {
        const circle = trail.slice(start)
        const names = circle.map((step) => step.path)
        circles.set(
          names.toSorted().join(),
          `${path}:${circle[0]?.line} imports itself: ${[...names, path].join(' → ')}`,
        )
      }
      if (start >= 0 || visited.has(path)) return
      for (const { target, line } of importers.get(path) ?? []) {
        visit(target, [...trail, { path, line }])
      }
      visited.add(path)
    }
    for (const { path } of files) visit(path, [])
    return [...circles.values()]
  },
  catches: [['actors/run.ts', "\nimport { a } from './run.ts'", 'actors/run.ts:2 imports itself']],
}

const tellingNames: Rule = {
  fact: 'names tell what is inside, in kebab-case',
  find: (files) =>
    files
      .filter(
        ({ path }) =>
          /(^|\/)(utils?|types?|common|helpers?|shared|misc)[./]/.test(path) ||
          !/^[a-z0-9.-]+$/.test(basename(path)),
      )
      .map(({ path }) => `${path}:1 is not named after its concept, in kebab-case; rename it`),
  catches: [
    ['runtime/helpers/text.ts', '', 'runtime/helpers/text.ts:1 '],
    ['actors/types.ts', '', 'actors/types.ts:1 '],
    ['actors/deadLetters.ts', '', 'actors/deadLetters.ts:1 '],
  ],
}

const noBarrels: Rule = {
  fact: 'the package entry is the only barrel',
  find: (files) =>
    files
      .filter(({ path }) => path !== 'runtime/index.ts')
      .flatMap((file) =>
        (basename(file.path) === 'index.ts' ? [1] : linesOf(file.code, /^export \*/gm)).map(
          (line) => `${file.path}:${line} is a barrel; import the file that owns the name`,
        ),
      ),
  catches: [
    ['actors/index.ts', '', 'actors/index.ts:1 '],
    ['actors/a.ts', "\nexport * from './b.ts'", 'actors/a.ts:2 '],
  ],
}

/** A default export of tasks is part of the command line (--tasks), so examples may have one. */
const namedExports = ban({
  fact: 'exports have names',
  pattern: /^export (default\b|\{[^}]*\bas default\b)/gm,
  says: 'exports a default; name it',
  except: (path) => /^(config|test\/(?!kit\/))/.test(path) && !path.endsWith('.test.ts'),
  catches: ['actors/a.ts', '\nexport default 1', 'actors/a.ts:2 '],
})

const noShell = ban({
  fact: 'there is no shell',
  pattern: /\bshell: true|\bchild_process\.exec|\bexec(File)?Sync\(|\bBun\.\$|\bimport \{ \$/g,
  says: 'may run a shell, or blocks; spawn a program with its argv',
  except: () => false,
  catches: ['runtime/a.ts', 'spawn(a, { shell: true })', 'runtime/a.ts:1 '],
})

const nothingLeft: Rule = {
  fact: 'nothing is left for later',
  find: (files) =>
    files.flatMap((file) =>
      linesOf(file.text, new RegExp(['TODO', 'FIXME', 'XXX'].map(word).join('|'), 'g'))
        .filter(() => file.path !== 'test/architecture.test.ts')
        .map((line) => `${file.path}:${line} leaves something for later; do it now`),
    ),
  catches: [
    ['runtime/redis/scripts/a.lua', '-- TODO: all of it', 'runtime/redis/scripts/a.lua:1 '],
  ],
}

const pureMachines = ban({
  fact: 'machines do not reach for the world',
  pattern: new RegExp(
    '\\bDate\\s*[.(]|\\bMath\\.random|\\bset(Timeout|Interval|Immediate)\\b|\\bfetch\\s*\\(' +
      '|(?<!\\.)\\b(performance|process|crypto|console|Bun)\\.',
    'g',
  ),
  says: 'reaches for the world; time, chance and replies come as events, effects go out',
  except: (path) => !path.startsWith('machines/'),
  catches: [
    'machines/a.ts',
    "// Date.now() in a comment,\nconst type = 'process.exited'\nconst at = `${Date.now()}`",
    'machines/a.ts:3 ',
  ],
})

/**
 * Messages between processes, `mailboxes.send`, are no letters of this kind; and who looks himself,
 * in the same breath, whether an actor lives, loses nothing: `if (isLive(a)) a.send(b)`.
 */
const untold = ban({
  fact: 'actors send through tell',
  pattern:
    /(?<!\bmailboxes|\bisLive\(\1\)\) ([\w.]+))\??\.send\(|\.sendTo\(|(?<![.\w])send(To|Parent)\(/g,
  says: 'sends past the dead letters; a stopped actor would lose it in silence: use tell',
  except: (path) => !path.startsWith('actors/'),
  catches: [
    'actors/a.ts',
    `await mailboxes.send(a)
     await options.mailboxes.send(a)
     if (isLive(to.self)) to.self.send(a)
     send(options, 'b.send(')
     input.owner.send({})
     self.send(b)
     workers?.send({})
     if (isLive(self)) owner.send(a)
     enqueue.sendTo(c, d)
     sendParent(d)`,
    [5, 6, 7, 8, 9, 10].map((line) => `actors/a.ts:${line} `),
  ],
})

const sleeping = /\bBun\.sleep|(?<![.\w])setTimeout\(\s*(resolve|done|r)\b|=>\s*setTimeout\(/g

const noSleeps: Rule = {
  fact: 'tests do not sleep',
  find: (files) =>
    files
      .filter(({ path }) => path.startsWith('test/') && !path.startsWith('test/kit/'))
      .flatMap((file) => {
        const timers = importsOf(file).filter(({ target }) => target === 'node:timers/promises')
        const lines = [...linesOf(file.bare, sleeping), ...timers.map(({ line }) => line)]
        return lines.map(
          (line) => `${file.path}:${line} sleeps; wait for the condition with eventually()`,
        )
      }),
  catches: [
    [
      'test/runtime/a.test.ts',
      'await new Promise((resolve) => setTimeout(resolve, 100))',
      'test/runtime/a.test.ts:1 ',
    ],
    [
      'test/cluster/a.test.ts',
      "\nimport { setTimeout as delay } from 'node:timers/promises'",
      'test/cluster/a.test.ts:2 ',
    ],
  ],
}

const lineWidth: Rule = {
  fact: 'lines have at most 100 columns',
  find: (files) =>
    files.flatMap((file) =>
      linesOf(file.text, /^.{101,}$/gmu).map(
        (line) => `${file.path}:${line} has more than 100 columns; break it`,
      ),
    ),
  catches: [['runtime/a.ts', `\n${'x'.repeat(101)}`, 'runtime/a.ts:2 ']],
}

const fileLength: Rule = {
  fact: 'files have at most 400 lines',
  find: (files) =>
    files
      .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > 400)
      .map(({ path, lines }) => `${path}:401 goes on to line ${lines}; split it by concepts`),
  catches: [['runtime/a.ts', 'x\n'.repeat(401), 'runtime/a.ts:401 ']],
}

const rules = [
  importDirection,
  noCycles,
  tellingNames,
  noBarrels,
  namedExports,
  noShell,
  nothingLeft,
  pureMachines,
  untold,
  noSleeps,
  lineWidth,
  fileLength,
]

describe('the project', () => {
  const files = listFiles(root, layers)
    .filter((path) => /\.(ts|mjs|js|lua)$/.test(path))
    .map((path) => readSource(root, path))

  for (const { fact, find } of rules) {
    test(fact, () => {
      expect(find(files)).toEqual([])
    })
  }

  test('the folders at the top are the layers', () => {
    const folders = readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !/^(\..*|node_modules)$/.test(entry.name))
      .map((entry) => entry.name)
    expect(folders.filter((folder) => !layers.includes(folder))).toEqual([])
  })
})

describe('an offence is found', () => {
  for (const { fact, find, catches } of rules) {
    test(`against: ${fact}`, () => {
      for (const [path, text, begins] of catches) {
        const offences = find([source(path, text)])
        const expected = [begins].flat()
        expect(offences.map((offence, at) => offence.slice(0, expected[at]?.length))).toEqual(
          expected,
        )
      }
    })
  }

  test('a circle of three files is one offence, a circle of types is none', () => {
    const circle = (keyword: string) =>
      noCycles.find([
        source('actors/a.ts', "import { b } from './b.ts'"),
        source('actors/b.ts', "import { c } from './c.ts'"),
        source('actors/c.ts', `${keyword} { a } from './a.ts'`),
      ])
    expect(circle('import')).toEqual([
      'actors/a.ts:1 imports itself: actors/a.ts → actors/b.ts → actors/c.ts → actors/a.ts',
    ])
    expect(circle('import type')).toEqual([])
  })
})

/** A rule against a pattern in the code; comments and quoted strings do not count. */
function ban(options: {
  fact: string
  pattern: RegExp
  says: string
  except: (path: string) => boolean
  catches: Rule['catches'][number]
}): Rule {
  return {
    fact: options.fact,
    find: (files) =>
      files
        .filter(({ path }) => !options.except(path))
        .flatMap((file) =>
          linesOf(file.bare, options.pattern).map((line) => `${file.path}:${line} ${options.says}`),
        ),
    catches: [options.catches],
  }
}

function linesOf(text: string, pattern: RegExp): number[] {
  return [...text.matchAll(pattern)].map(({ index }) => lineAt(text, index))
}

function layerOf(path: string): string {
  return path.split('/')[0] ?? ''
}

function covers(name: string, target: string): boolean {
  return target === name || target.startsWith(name.endsWith(':') ? name : `${name}/`)
}

function word(text: string): string {
  return `\\b${text}\\b`
}

/** The packages the program itself may use: development tools are not among them. */
function dependencies(): string[] {
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return Object.keys((manifest as { dependencies: Record<string, string> }).dependencies)
}
