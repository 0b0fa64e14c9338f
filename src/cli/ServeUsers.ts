/**
 * The users of `serve`, and the files of their passwords.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Authentication from "../server/Authentication.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

interface User {
  readonly name: string
  readonly file: string
}

/** Reads `NAME:PASSWORD_FILE`. */
const parse = (input: string) => {
  const [, name, file] = /^([^:]+):(.+)$/s.exec(input) ?? []
  return name === undefined || file === undefined
    ? Effect.fail(misuse(`--user must be NAME:PASSWORD_FILE, not ${JSON.stringify(input)}`))
    : Effect.succeed<User>({ name, file })
}

/** Reads a password, which is the first line of its file. */
const readPassword = Effect.fnUntraced(function*({ file, name }: User) {
  const fs = yield* FileSystem.FileSystem
  const content = yield* Effect.mapError(
    fs.readFileString(file),
    () => new Failure({ message: `cannot read the password of ${name} from ${file}` })
  )
  const password = content.split(/\r?\n/, 1)[0] ?? ""
  if (password === "") {
    return yield* new Failure({ message: `cannot read the password of ${name}: the first line of ${file} is empty` })
  }
  return [name, Redacted.make(password)] as const
})

const readAll = (users: ReadonlyArray<User>) =>
  Effect.map(Effect.forEach(users, readPassword), (entries) => Authentication.passwords(Object.fromEntries(entries)))

/** Authentication of the clients, with an effect that reads the passwords again. */
export interface Users {
  readonly authentication: Authentication.Authentication
  /** Reads the passwords again. If one of them cannot be read, the former passwords stay valid. */
  readonly reload: Effect.Effect<void, never, FileSystem.FileSystem>
}

/** Makes the authentication of these users, or returns `undefined` if there are none. */
export const make = Effect.fnUntraced(function*(inputs: ReadonlyArray<string>): Effect.fn.Return<
  Users | undefined,
  Failure | ReturnType<typeof misuse>,
  FileSystem.FileSystem
> {
  const users = yield* Effect.forEach(inputs, parse)
  if (users.length === 0) return undefined
  let check = yield* readAll(users)
  return {
    authentication: Authentication.basic({ check: (username, password) => check(username, password) }),
    reload: Effect.matchEffect(readAll(users), {
      onFailure: ({ message }) => Effect.logError(`the former passwords stay valid: ${message}`),
      onSuccess: (current) =>
        Effect.suspend(() => {
          check = current
          return Effect.logInfo("the passwords were read again")
        })
    })
  }
})
