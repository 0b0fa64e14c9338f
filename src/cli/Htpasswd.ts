/**
 * Users of a file as `htpasswd -B` writes it: each line is a user name and a hash of the password by bcrypt.
 */
import { compare } from "bcryptjs"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Crypto from "node:crypto"
import * as KeyedLock from "../KeyedLock.ts"
import type { Problem } from "../mirror/Problem.ts"
import type { Check } from "../server/Authentication.ts"
import * as ConfigurationFile from "./ConfigurationFile.ts"

/** Hashes of passwords by user name. */
export type Hashes = ReadonlyMap<string, string>

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

const bcrypt = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/

/** Largest cost of a hash, which is that of `htpasswd`. A check then takes half a minute. */
const maximumCost = 17

const algorithms: ReadonlyArray<readonly [pattern: RegExp, name: string]> = [
  [/^\$apr1\$/, "hashed with MD5 (apr1)"],
  [/^\$1\$/, "hashed with MD5"],
  [/^\{SHA\}/i, "hashed with SHA-1"],
  [/^\$5\$/, "hashed with SHA-256"],
  [/^\$6\$/, "hashed with SHA-512"],
  [/^\$2x\$/, "hashed with a faulty variant of bcrypt (2x)"],
  [/^\$2/, "not a complete hash of bcrypt"],
  [/^\$argon2/, "hashed with Argon2"],
  [/^\$y\$/, "hashed with yescrypt"]
]

const problemOf = (hash: string): string | undefined => {
  const cost = bcrypt.exec(hash)?.[1]
  if (cost === undefined) {
    const found = algorithms.find(([pattern]) => pattern.test(hash))?.[1] ?? "plain text, or hashed with crypt"
    return `${found}, which is not accepted`
  }
  return Number(cost) < 4 || Number(cost) > maximumCost
    ? `hashed with cost ${Number(cost)}, but 4 to ${maximumCost} is allowed`
    : undefined
}

/** Parses the text of a file. Finds all its problems. */
export const parse = (file: string, text: string): Result.Result<Hashes, ConfigurationFile.FileProblems> => {
  const hashes = new Map<string, string>()
  const problems: Array<Problem> = []
  for (const [index, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue
    const problem = (message: string) => problems.push({ path: [], message: `line ${index + 1}: ${message}` })
    const colon = line.indexOf(":")
    if (colon < 1) {
      problem("write NAME:HASH")
      continue
    }
    const name = line.slice(0, colon)
    const hash = line.slice(colon + 1).trim()
    const objection = problemOf(hash)
    if (objection !== undefined) {
      problem(
        `the password of ${name} is ${objection}: replace it with htpasswd -B ${file} ${name}`
      )
    } else if (hashes.has(name)) problem(`there are two passwords of ${name}: delete one of the lines`)
    hashes.set(name, hash)
  }
  return problems.length > 0
    ? Result.fail(ConfigurationFile.failing(file, problems))
    : Result.succeed(hashes)
}

// ---------------------------------------------------------------------------------------------------------------------
// checking passwords
// ---------------------------------------------------------------------------------------------------------------------

/** Time for which a password that was right is accepted without another hash. */
const memory = Duration.minutes(2)

/** Maximum number of passwords that are remembered. */
const maximumRemembered = 10_000

/** Hash for user names that do not exist, if there are no others. */
const unusedHash = "$2b$10$yPn6ax8tNEg6tZTu8eBPNeJpEEdEUJoCaAyJyeqXU9I7NtreK1ZIS"

interface Remembered {
  /** Hash that the password matched. After a change of the file it is another one. */
  readonly hash: string
  /** Time of expiry, in milliseconds since 1970. */
  readonly expires: number
}

/**
 * Creates a check of passwords. `current` returns the hashes.
 *
 * A hash takes some 100 milliseconds or more, of which pieces of at most 100 milliseconds run at a time, one hash after
 * another, so that other requests go on. A password that was right is remembered for two minutes, under a keyed hash of
 * itself and the user name. A password of an unknown user takes the time of a hash as well.
 */
export const make = (current: () => Hashes): Check => {
  // the key is known to this process only, so that the time of a look-up tells nothing about the password
  const key = Crypto.randomBytes(32)
  const digest = (...texts: ReadonlyArray<string>) =>
    Crypto.createHmac("sha256", key).update(JSON.stringify(texts)).digest()
  const remembered = new Map<string, Remembered>()
  const together = KeyedLock.make()
  const turn = Semaphore.makeUnsafe(1)

  const remember = (id: string, entry: Remembered) => {
    const [oldest] = remembered.keys()
    if (remembered.size >= maximumRemembered && oldest !== undefined) remembered.delete(oldest)
    remembered.set(id, entry)
  }

  /** Returns the hash of some user, always the same one for a name, so that unknown users have the same costs. */
  const substitute = (username: string): string => {
    const hashes = Array.from(current().values())
    return hashes[digest(username).readUInt32BE(0) % Math.max(1, hashes.length)] ?? unusedHash
  }

  const check = Effect.fnUntraced(function*(id: string, username: string, password: string) {
    const hash = current().get(username)
    const known = remembered.get(id)
    if (hash !== undefined && known?.hash === hash && known.expires > (yield* Clock.currentTimeMillis)) return true
    remembered.delete(id)
    const isRight = yield* turn.withPermit(
      // a hash that has begun cannot be cancelled
      Effect.uninterruptible(Effect.promise(() => compare(password, hash ?? substitute(username))))
    )
    if (!isRight || hash === undefined || current().get(username) !== hash) return false
    remember(id, { hash, expires: (yield* Clock.currentTimeMillis) + Duration.toMillis(memory) })
    return true
  })

  return (username, password) =>
    Effect.suspend(() => {
      const id = digest(username, Redacted.value(password)).toString("base64")
      // requests at the same time wait for one hash
      return together(id)(check(id, username, Redacted.value(password)))
    })
}
