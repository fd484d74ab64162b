/** The project's own source files, read as text: what they import and what stands on which line. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

export interface SourceFile {
  /** From the root of the project, with slashes: `machines/lease.ts`. */
  path: string
  text: string
  /** The text with comments blanked out; lines and columns are the same. */
  code: string
  /** The same with what stands in quotes blanked out too; templates stay. */
  bare: string
}

export interface Import {
  /** `machines/lease.ts` for a file of the project, the specifier itself for anything else. */
  target: string
  /** Counted from 1. */
  line: number
  typeOnly: boolean
}

/** Names of everything in the folders, files only, recursively: `machines/lease.ts`. */
export function listFiles(root: string, folders: readonly string[]): string[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1)),
    )
    .map((path) => path.replaceAll('\\', '/'))
    .toSorted()
}

export function readSource(root: string, path: string): SourceFile {
  return source(path, readFileSync(join(root, path), 'utf8'))
}

export function source(path: string, text: string): SourceFile {
  return { path, text, code: blank(text, '/'), bare: blank(text, '/\'"') }
}

// Strings and templates are matched so that a // inside one is not taken for a comment.
const stringOrComment =
  /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g

/** Puts blanks in place of what begins with one of `marks`: comments, strings. */
function blank(text: string, marks: string): string {
  return text.replace(stringOrComment, (found) =>
    marks.includes(found.charAt(0)) ? found.replace(/[^\n]/g, ' ') : found,
  )
}

const names = '(?:[\\w$]+|\\{[^}]*\\}|\\*(?:\\s*as\\s+[\\w$]+)?)'
const staticImport = new RegExp(
  `\\b(?:import|export)\\s+(type\\s+)?(?:[\\w$]+\\s*,\\s*)?${names}\\s*from\\s*['"]([^'"]+)['"]`,
  'g',
)
const otherImport = /\bimport\s*\(?\s*['"]([^'"]+)['"]/g

export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = []
  const add = (at: number, specifier: string | undefined, typeOnly: boolean): void => {
    if (specifier === undefined) return
    found.push({ target: resolve(file.path, specifier), line: lineAt(file.code, at), typeOnly })
  }
  for (const match of file.code.matchAll(staticImport)) {
    add(match.index, match[2], match[1] !== undefined)
  }
  for (const match of file.code.matchAll(otherImport)) add(match.index, match[1], false)
  return found
}

/** Line, counted from 1, of a position in a text. */
export function lineAt(text: string, position: number): number {
  return text.slice(0, position).split('\n').length
}

function resolve(from: string, specifier: string): string {
  return specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : specifier
}
