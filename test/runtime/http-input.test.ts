/** What is refused of a task of kind `http`, and what is said of it. */
import { describe, expect, test } from 'bun:test'
import { httpInput } from '../../runtime/execute/http/body-pattern.ts'

describe('http input', () => {
  const problem = (input: unknown) => {
    const issue = httpInput.safeParse(input).error?.issues[0]
    return issue === undefined ? undefined : [issue.path.join('.'), issue.message]
  }

  test.each([
    [{}, 'url', 'expected string'],
    [{ url: 'example.com' }, 'url', 'expected a URL such as'],
    [{ url: 'ftp://a/' }, 'url', 'expected a URL with http: or https:, got "ftp:"'],
    [{ url: 'http://a:0/' }, 'url', 'expected a port of 1 to 65535'],
    [{ url: 'http://u:p@a/' }, 'url', 'without user and password'],
    [{ url: 'http://a/', method: 'BREW' }, 'method', 'expected one of'],
    [{ url: 'http://a/', headers: { 'x y': '1' } }, 'headers.x y', ''],
    [{ url: 'http://a/', headers: { Connection: 'x' } }, 'headers.Connection', ''],
    [{ url: 'http://a/', headers: { x: 'a\r\nb: c' } }, 'headers.x', 'printable Latin-1'],
    [
      { url: 'http://a/', expect: { bodyMatches: '(' } },
      'expect.bodyMatches',
      'regular expression',
    ],
    [
      { url: 'http://a/', expect: { bodyMatches: '(a)\\1' } },
      'expect.bodyMatches',
      'as RE2 has them',
    ],
    [
      { url: 'http://a/', expect: { bodyMatches: 'ok(?!ay)' } },
      'expect.bodyMatches',
      'as RE2 has them',
    ],
    [{ url: 'http://a/', expect: { status: 99 } }, 'expect.status', ''],
    [{ url: 'http://a/', expect: { certDaysLeft: -1 } }, 'expect.certDaysLeft', '>=0'],
    [{ url: 'http://a/', maxRedirects: 21 }, 'maxRedirects', '<=20'],
    [{ url: 'http://a/', maxBytes: 2 ** 40 }, 'maxBytes', '<='],
    [{ url: 'http://a/', metod: 'GET' }, '', 'metod'],
  ])('%j is refused', (input, path, message) => {
    const [where, what] = problem(input) ?? []
    expect(where).toBe(path)
    expect(what).toContain(message)
  })
})
