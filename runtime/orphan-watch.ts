/**
 * Runs as a thread of a worker process and looks whether its node is still there. The process ends
 * by itself when the node is gone; one whose event loop stands still is ended from here.
 */
const lookMs = 500
/** What a process gets to end by itself; with the time between looks under 5 s. */
const graceMs = 3000
const node = process.ppid

const looking = setInterval(() => {
  if (process.ppid === node) return
  clearInterval(looking)
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), graceMs)
}, lookMs)
