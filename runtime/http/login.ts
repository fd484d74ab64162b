/** Logging in for browsers: a token against a cookie that scripts cannot read. */
import { Hono } from 'hono'
import { tooManyGuesses } from './guard.ts'
import type { AddressRate } from './rate.ts'
import { cookieName, matchToken, type Sessions, sessionOf } from './sessions.ts'
import type { Token } from './token.ts'

export interface LoginRoutesOptions {
  tokens: readonly Token[]
  sessions: Sessions
  guesses: AddressRate
}

/** Longer than any token somebody keeps in a file. */
const formBytesMax = 16_384
/** Attempts are counted together, for a browser that lies about its address gets no more. */
const everybody = 'login'

export function loginRoutes({ tokens, sessions, guesses }: LoginRoutesOptions): Hono {
  const app = new Hono()

  app.get('/login', ({ req }) => {
    const next = safePath(req.query('next'))
    const session = sessionOf(req.raw)
    const isIn = tokens.length === 0 || (session !== undefined && sessions.find(session))
    return isIn ? redirect(next) : page(next)
  })

  app.post('/login', async ({ req }) => {
    const text = await req.text()
    const form = new URLSearchParams(text.length > formBytesMax ? '' : text)
    const next = safePath(form.get('next') ?? undefined)
    if (tokens.length === 0) return redirect(next)
    const waitSeconds = guesses.take(everybody)
    if (waitSeconds > 0) return tooManyGuesses(waitSeconds)
    const token = matchToken(tokens, form.get('token')?.trim() ?? '')
    if (token === undefined) return page(next, 'That is not a token of this node.')
    guesses.giveBack(everybody)
    const session = sessions.open(token)
    return redirect(next, cookie(req.raw, session, sessions.maxAgeSeconds))
  })

  app.post('/logout', ({ req }) => {
    const session = sessionOf(req.raw)
    if (session !== undefined) sessions.close(session)
    return redirect('/login', cookie(req.raw, '', 0))
  })

  return app
}

function cookie(request: Request, value: string, maxAgeSeconds: number): string {
  const secure = new URL(request.url).protocol === 'https:' ? '; Secure' : ''
  const name = cookieName(request)
  return `${name}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Strict${secure}`
}

function redirect(location: string, setCookie?: string): Response {
  const headers = { location, 'cache-control': 'no-store' }
  return new Response(null, {
    status: 303,
    headers: setCookie === undefined ? headers : { ...headers, 'set-cookie': setCookie },
  })
}

/** A path of this node: what leads elsewhere leads to the front page. */
function safePath(next: string | undefined): string {
  if (next === undefined || !/^\/(?![/\\])[\x21-\x7e]*$/.test(next)) return '/'
  return next.startsWith('/login') ? '/' : next
}

const policy =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; " +
  "frame-ancestors 'none'; base-uri 'none'"

function page(next: string, trouble?: string): Response {
  const said = trouble === undefined ? '' : `<p role="alert">${trouble}</p>`
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · Muster</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { display: grid; place-content: center; min-height: 90vh; margin: 0 1rem }
form { display: grid; gap: .75rem; max-width: 22rem }
input, button { font: inherit; padding: .5rem .75rem }
[role=alert] { color: light-dark(#a00, #f88); margin: 0 }
</style>
</head>
<body>
<main>
<h1>Muster</h1>
<form method="post" action="/login">
${said}
<label for="token">Token of this node</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="${escapeHtml(next)}">
<button>Log in</button>
</form>
</main>
</body>
</html>
`
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': policy,
    'cache-control': 'no-store',
  }
  return new Response(html, { status: trouble === undefined ? 200 : 401, headers })
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
