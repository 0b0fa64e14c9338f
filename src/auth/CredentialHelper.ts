/**
 * Credential helpers: programs named `docker-credential-…` that keep credentials and hand them out.
 *
 * Nothing that a helper prints gets into an error: it may be a secret.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as RegistryError from "../RegistryError.ts"
import type { Credential } from "./Credentials.ts"
import * as GoJson from "./GoJson.ts"

/**
 * How long a credential helper may take.
 *
 * @default 30 seconds
 * @category references
 * @since 0.1.0
 */
export const HelperTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/DockerConfig/HelperTimeout",
  { defaultValue: () => Duration.seconds(30) }
)

// far above any token, and far below what hurts
const outputLimit = 1024 * 1024

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

/** Reads what a helper printed. Names of fields match regardless of case, as in Go. */
const answerOf = (printed: string) => {
  const json = Result.getOrUndefined(decodeJson(printed))
  if (!GoJson.isFields(json)) return undefined
  const [username, secret] = [GoJson.field(json, "Username"), GoJson.field(json, "Secret")]
  return Predicate.isString(username) && Predicate.isString(secret) ? { username, secret } : undefined
}

/** Can this be part of a program's name? A path could name any program. */
export const isName = (name: string): boolean => /^[a-zA-Z0-9_][a-zA-Z0-9_.+-]*$/.test(name)

interface Output {
  readonly size: number
  readonly chunks: ReadonlyArray<Uint8Array>
}

/** The text of an output, as far as the limit: the rest is read, so that the program can end, and forgotten. */
const collect = (output: Stream.Stream<Uint8Array, PlatformError.PlatformError>) =>
  output.pipe(
    Stream.runFold(
      (): Output => ({ size: 0, chunks: [] }),
      ({ chunks, size }, chunk) => ({
        size: size + chunk.length,
        chunks: size + chunk.length > outputLimit ? chunks : [...chunks, chunk]
      })
    ),
    Effect.flatMap(({ chunks }) => Stream.mkString(Stream.decodeText(Stream.fromIterable(chunks))))
  )

const run = Effect.fnUntraced(
  function*(spawner: ChildProcessSpawner["Service"], program: string, action: string, input: string) {
    const helper = yield* spawner.spawn(ChildProcess.make(program, [action], {
      stdin: Stream.make(new TextEncoder().encode(`${input}\n`)),
      forceKillAfter: "1 second"
    }))
    const [code, stdout, stderr] = yield* Effect.all(
      [helper.exitCode, collect(helper.stdout), collect(helper.stderr)],
      { concurrency: "unbounded" }
    )
    return { code, stdout, stderr }
  },
  Effect.scoped
)

/** The program that a helper is, by its name in docker's config. */
export const programOf = (name: string): string => `docker-credential-${name}`

/** Runs a helper, by a name that {@link isName} has passed; tells what it printed, or that it knows no such server. */
const ask = Effect.fnUntraced(function*(
  spawner: ChildProcessSpawner["Service"],
  name: string,
  action: string,
  input: string
): Effect.fn.Return<string | undefined, RegistryError.CredentialsUnavailable> {
  const program = programOf(name)
  const fail = (problem: string) => new RegistryError.CredentialsUnavailable({ source: program, problem })
  const after = yield* HelperTimeout
  const { code, stderr, stdout } = yield* run(spawner, program, action, input).pipe(
    Effect.timeout(after),
    Effect.catchTag("TimeoutError", () => Effect.fail(fail(`it did not answer within ${Duration.format(after)}`))),
    Effect.catchTag("PlatformError", ({ reason }) =>
      Effect.fail(fail(
        reason._tag === "NotFound"
          ? "there is no such program on the PATH"
          : `it did not run to its end (${reason._tag})`
      )))
  )
  if (code === 0) return stdout
  if (/credentials not found/i.test(stdout + stderr)) return undefined
  return yield* fail(`it ended with exit code ${code}`)
})

/** Asks a helper for the credentials of a server. */
export const get = Effect.fnUntraced(function*(
  spawner: ChildProcessSpawner["Service"],
  name: string,
  server: string
): Effect.fn.Return<Credential | undefined, RegistryError.CredentialsUnavailable> {
  const printed = yield* ask(spawner, name, "get", server)
  if (printed === undefined) return undefined
  const answer = answerOf(printed)
  if (answer === undefined) {
    return yield* new RegistryError.CredentialsUnavailable({
      source: programOf(name),
      problem: "what it printed is not JSON with a Username and a Secret"
    })
  }
  if (answer.secret === "") return undefined
  return credentialOf(answer.username, Redacted.make(answer.secret))
})

/** The name under which docker keeps an identity token. */
export const identityUser = "<token>"

/** Returns what a name and a password stand for: under docker's name for it, the password is an identity token. */
export const credentialOf = (username: string, password: Redacted.Redacted): Credential =>
  username === identityUser
    ? { _tag: "IdentityToken", token: password }
    : { _tag: "Basic", username, password }

const encodeEntry = Schema.encodeEffect(
  Schema.fromJsonString(Schema.Struct({ ServerURL: Schema.String, Username: Schema.String, Secret: Schema.String }))
)

/** Gives a helper the credentials of a server to keep. */
export const store = Effect.fnUntraced(function*(
  spawner: ChildProcessSpawner["Service"],
  name: string,
  server: string,
  { password, username }: Extract<Credential, { readonly _tag: "Basic" }>
): Effect.fn.Return<void, RegistryError.CredentialsUnavailable> {
  const entry = { ServerURL: server, Username: username, Secret: Redacted.value(password) }
  yield* ask(spawner, name, "store", yield* Effect.orDie(encodeEntry(entry)))
})

/** Makes a helper forget the credentials of a server; tells whether it had any, as far as it says so. */
export const erase = (
  spawner: ChildProcessSpawner["Service"],
  name: string,
  server: string
): Effect.Effect<boolean, RegistryError.CredentialsUnavailable> =>
  Effect.map(ask(spawner, name, "erase", server), (printed) => printed !== undefined)
