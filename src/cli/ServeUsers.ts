/**
 * Users of `serve`, and what they may do.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Authentication from "../server/Authentication.ts"
import * as Access from "./Access.ts"
import * as ConfigurationFile from "./ConfigurationFile.ts"
import * as Htpasswd from "./Htpasswd.ts"
import { Failure } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

/** Files with users and rights. */
export interface Files {
  /** Users as `NAME:PASSWORD_FILE`. */
  readonly user: ReadonlyArray<string>
  readonly htpasswd: string | undefined
  readonly access: string | undefined
}

/** Users and rights that were read. */
export interface Loaded {
  /** Users with a password of their own file. */
  readonly passwords: ReadonlyMap<string, Redacted.Redacted>
  readonly hashes: Htpasswd.Hashes
  readonly access: Access.Access | undefined
}

type Problem = Failure | ConfigurationFile.FileProblems | ReturnType<typeof misuse>

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

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

const readParsed = Effect.fnUntraced(function*<A>(
  file: string,
  parse: (file: string, text: string) => Effect.Effect<A, ConfigurationFile.FileProblems>
) {
  return yield* parse(file, yield* ConfigurationFile.readText(file))
})

/** Reads users and rights. */
export const load = Effect.fnUntraced(function*(files: Files): Effect.fn.Return<
  Loaded,
  Problem,
  FileSystem.FileSystem
> {
  const users = yield* Effect.forEach(files.user, parse)
  const passwords = new Map(yield* Effect.forEach(users, readPassword))
  const hashes = files.htpasswd === undefined
    ? new Map<string, string>()
    : yield* readParsed(files.htpasswd, (file, text) => Effect.fromResult(Htpasswd.parse(file, text)))
  const access = files.access === undefined
    ? undefined
    : yield* readParsed(files.access, (file, text) => Effect.fromResult(Access.parse(file, text)))
  const double = Array.from(passwords.keys()).find((name) => hashes.has(name))
  if (double !== undefined) {
    return yield* new Failure({ message: `the user ${double} is in --user and in ${files.htpasswd}` })
  }
  return { passwords, hashes, access }
})

/** Returns remarks about users and rights that have no effect. */
export const remarks = ({ access, hashes, passwords }: Loaded): ReadonlyArray<string> => {
  const strangers = Array.from(access?.users ?? []).filter((name) => !hashes.has(name) && !passwords.has(name))
  return [
    ...strangers.length === 0 ? [] : [`the rights name users without a password: ${strangers.join(", ")}`],
    ...hashes.size + passwords.size === 0 && access?.anonymousRules === 0
      ? ["there are no users, and no rights of anonymous clients: every request will be refused"]
      : []
  ]
}

// ---------------------------------------------------------------------------------------------------------------------
// authentication
// ---------------------------------------------------------------------------------------------------------------------

/** Authentication of the clients, whose users and rights can be replaced. */
export interface Users {
  readonly authentication: Authentication.Authentication
  readonly replace: (loaded: Loaded) => void
}

const everythingForUsers: Authentication.Authorize = (username) => Effect.succeed(username !== undefined)

/** How users send their passwords. */
export interface Scheme {
  readonly auth: "basic" | "token" | undefined
  /** URL of the token service for clients. Default: at the host of the request. */
  readonly tokenRealm: string | undefined
}

/** Makes the authentication of these users. */
export const make = (first: Loaded, { auth, tokenRealm }: Scheme): Users => {
  let current = first
  const checkOf = ({ passwords }: Loaded) => Authentication.passwords(Object.fromEntries(passwords))
  let checkPassword = checkOf(first)
  const checkHash = Htpasswd.make(() => current.hashes)
  const check: Authentication.Check = (username, password) =>
    Effect.suspend(() => {
      const checked = current.passwords.size === 0 ? Effect.succeed(false) : checkPassword(username, password)
      // a wrong password takes the same time for every user name
      return current.hashes.size === 0
        ? checked
        : Effect.flatMap(checked, (isRight) => isRight ? Effect.succeed(true) : checkHash(username, password))
    })
  const authorize: Authentication.Authorize = (username, permission) =>
    Effect.suspend(() => (current.access?.authorize ?? everythingForUsers)(username, permission))
  return {
    replace: (loaded) => {
      current = loaded
      checkPassword = checkOf(loaded)
    },
    authentication: auth === "token"
      ? Authentication.bearer({
        service: "effect-oci",
        realm: tokenRealm,
        check,
        authorize,
        passwords: "everywhere",
        // a stored refresh token would expire, and be invalid after a restart
        refreshLifetime: 0
      })
      : Authentication.basic({ check, authorize })
  }
}
