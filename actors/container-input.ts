/** What a task of kind `container` says: a program, and the file system that it sees. */
import { z } from 'zod'
import { execInput } from './exec-input.ts'

const { argv, env, stdin, limits } = execInput.shape

const absolutePath = z
  .string()
  .regex(/^\/[^\0]*$/, 'expected an absolute path, without NUL characters')

/** Also where it is spelled in another way. */
const isMachine = (path: string) => path.split('/').every((part) => part === '' || part === '.')

const rootPath = absolutePath
  .refine((path) => !path.split('/').includes('..'), 'expected a path without ".."')
  .refine(
    (path) => !isMachine(path),
    'expected a directory with a root file system of its own, got that of the machine',
  )

const imageName = z
  .string()
  .max(255)
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/,
    'expected the name of an image, such as "debian:12"; it begins with a letter or digit',
  )

export const containerInput = z
  .strictObject({
    image: imageName.optional(),
    root: rootPath.optional(),
    argv,
    env,
    /** Inside of the container. */
    cwd: absolutePath.optional(),
    stdin,
    limits,
    network: z.enum(['none', 'host']).optional(),
  })
  .superRefine(({ image, root }, context) => {
    if ((image === undefined) !== (root === undefined)) return
    const got = image === undefined ? 'neither' : 'both'
    context.addIssue({
      code: 'custom',
      path: [image === undefined ? 'root' : 'image'],
      message:
        `expected either "image" or "root", got ${got}: "root" is a directory of the machine ` +
        'that runs the task, "image" is for Podman or Docker',
    })
  })

export type ContainerInput = z.infer<typeof containerInput>
