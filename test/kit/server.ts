/** Makes sure that there is a Redis server program for the tests; prints which. */
import { describeError } from '../../actors/errors.ts'
import { findOrInstallServer } from '../../runtime/redis/install.ts'

try {
  console.log(await findOrInstallServer({ say: console.log }))
} catch (error) {
  console.error(describeError(error).message)
  process.exitCode = 1
}
