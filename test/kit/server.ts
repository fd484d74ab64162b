/** Makes sure of the programs that tests need: a Redis server, and others where they can be had. */
import { describeError } from '../../actors/errors.ts'
import { findOrInstallServer } from '../../runtime/redis/install.ts'
import { installPrograms } from './programs.ts'

try {
  console.log(await findOrInstallServer({ say: console.log }))
} catch (error) {
  console.error(describeError(error).message)
  process.exitCode = 1
}
installPrograms(console.log)
