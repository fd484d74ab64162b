/** `bun run runtime`: the same as `muster start`. */
process.argv.splice(2, 0, 'start')
await import('./cli/main.ts')
