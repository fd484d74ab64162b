/**
 * The pages of a node: their HTML, their script, bundled when it is first asked for and kept, and
 * their style. All of it from this origin, and the browser is told to take it from nowhere else.
 */
import { createHash } from 'node:crypto'
import { Hono } from 'hono'

export interface PageOptions {
  /** Where the page itself is. */
  path: string
  /** Its script is at `/<name>/page.js`. */
  name: string
  /** Where its style goes there is `<!-- style -->`. */
  html: URL
  /** TypeScript, with all that it imports. */
  script: URL
  /** After the style that all pages share. */
  styles: readonly URL[]
  /** Directives that differ from those of every page. */
  policy?: Readonly<Record<string, string>>
}

interface Asset extends Made {
  /** The same, compressed. */
  gzipped: Uint8Array<ArrayBuffer>
  /** Of its content. */
  tag: string
}

/** What is served: its text, and the style in it, which the browser is told by its hash. */
interface Made {
  text: string
  style?: string
}

const stylePlace = '<!-- style -->'

/** Scripts in files of their own, and whatever they ask for from this origin alone. */
const policy = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'form-action': "'self'",
  'base-uri': "'none'",
  'frame-ancestors': "'none'",
}

const shared = new URL('./style.css', import.meta.url)

/** The routes of one page. Nothing is read or bundled before somebody asks for it. */
export function pageRoutes(page: PageOptions): Hono {
  const { path, name, html, script, styles } = page
  const policyFor = ({ style }: Made) => {
    const own = style === undefined ? {} : { 'style-src': `'self' 'sha256-${hashOf(style)}'` }
    const directives = Object.entries({ ...policy, ...page.policy, ...own })
    return directives.map((words) => words.join(' ')).join('; ')
  }
  const headers = {
    'cross-origin-opener-policy': 'same-origin',
    'referrer-policy': 'same-origin',
    'x-content-type-options': 'nosniff',
    // It may be kept, and is asked for again each time: another version has another tag.
    'cache-control': 'no-cache',
    vary: 'accept-encoding',
  }
  const app = new Hono()
  const serve = (at: string, type: string, make: () => Promise<Made>) => {
    const load = once(make)
    app.get(at, async ({ req }) => {
      const asset = await load()
      const { text, gzipped, tag } = asset
      const about = {
        ...headers,
        'content-security-policy': policyFor(asset),
        'content-type': `${type}; charset=utf-8`,
        etag: tag,
      }
      if (req.header('if-none-match') === tag) {
        return new Response(null, { status: 304, headers: about })
      }
      if (!/\bgzip\b/.test(req.header('accept-encoding') ?? '')) {
        return new Response(text, { headers: about })
      }
      return new Response(gzipped, { headers: { ...about, 'content-encoding': 'gzip' } })
    })
  }
  // With its style in it: nothing is painted before that is there, and it would be asked for apart.
  serve(path, 'text/html', async () => {
    const style = await join([shared, ...styles])
    return { text: (await Bun.file(html).text()).replace(stylePlace, styled(style)), style }
  })
  serve(`/${name}/page.js`, 'text/javascript', async () => ({ text: await bundle(script) }))
  return app
}

const hashOf = (text: string) => createHash('sha256').update(text).digest('base64')
/** A function: in a text `$` would mean something. */
const styled = (style: string) => () => `<style>${style}</style>`

function once(make: () => Promise<Made>): () => Promise<Asset> {
  let made: Promise<Asset> | undefined
  return () => {
    made ??= make().then(
      (read) => ({
        ...read,
        gzipped: Bun.gzipSync(read.text),
        // Weak: it stands for both.
        tag: `W/"${createHash('sha256').update(read.text).digest('base64url')}"`,
      }),
      (error: unknown) => {
        // It may be there the next time.
        made = undefined
        throw error
      },
    )
    return made
  }
}

async function join(files: readonly URL[]): Promise<string> {
  return (await Promise.all(files.map((file) => Bun.file(file).text()))).join('\n')
}

/** @throws AggregateError when it does not compile */
async function bundle(script: URL): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [Bun.fileURLToPath(script)],
    target: 'browser',
    format: 'esm',
    minify: true,
  })
  const [output] = outputs
  if (output === undefined) throw new Error(`expected a bundle of ${script.pathname}, got none`)
  return output.text()
}
