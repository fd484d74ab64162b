/** A web server in a process of its own, which says where it listens and ends with its stdin. */
const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('ok') })
console.log(`http://127.0.0.1:${server.port}/`)
for await (const _ of Bun.stdin.stream());
await server.stop(true)
