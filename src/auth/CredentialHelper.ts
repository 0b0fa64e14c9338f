/**
 * Credential helpers: programs named `docker-credential-…` that store credentials.
 *
 * Errors contain nothing that a helper prints, because it may be a secret.
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
 * Maximum time that a credential helper may take.
 *
 * @default 30 seconds
 * @category references
 * @since 0.1.0
 */
export const HelperTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/DockerConfig/HelperTimeout",
  { defaultValue: () => Duration.seconds(30) }
)

// in bytes; tokens are far smaller
const outputLimit = 1024 * 1024

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

/** Parses the output of a helper. Names of fields are case-insensitive, as in Go. */
const answerOf = (printed: string) => {
  const json = Result.getOrUndefined(decodeJson(printed))
  if (!GoJson.isFields(json)) return undefined
  const [username, secret] = [GoJson.field(json, "Username"), GoJson.field(json, "Secret")]
  return Predicate.isString(username) && Predicate.isString(secret) ? { username, secret } : undefined
}

/** Returns true if a name may be part of the name of a program. A path could name any program. */
export const isName = (name: string): boolean => /^[a-zA-Z0-9_][a-zA-Z0-9_.+-]*$/.test(name)

interface Output {
  readonly size: number
  readonly chunks: ReadonlyArray<Uint8Array>
}

/** Reads an output, and keeps at most the limit. The rest is read as well, so that the program can end. */
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

/** Returns the name of the program for the name of a helper in docker's config. */
export const programOf = (name: string): string => `docker-credential-${name}`

/**
 * Runs a helper whose name {@link isName} has accepted. Returns its output, or `undefined` if it has no credentials for
 * the server.
 */
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

/** Gets the credentials of a server from a helper. */
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

/** User name under which docker stores an identity token. */
export const identityUser = "<token>"

/**
 * Returns the credential for a user name and a password. With the name {@link identityUser}, the password is a token.
 */
export const credentialOf = (username: string, password: Redacted.Redacted): Credential =>
  username === identityUser
    ? { _tag: "IdentityToken", token: password }
    : { _tag: "Basic", username, password }

const encodeEntry = Schema.encodeEffect(
  Schema.fromJsonString(Schema.Struct({ ServerURL: Schema.String, Username: Schema.String, Secret: Schema.String }))
)

/** Stores the credentials of a server in a helper. */
export const store = Effect.fnUntraced(function*(
  spawner: ChildProcessSpawner["Service"],
  name: string,
  server: string,
  { password, username }: Extract<Credential, { readonly _tag: "Basic" }>
): Effect.fn.Return<void, RegistryError.CredentialsUnavailable> {
  const entry = { ServerURL: server, Username: username, Secret: Redacted.value(password) }
  yield* ask(spawner, name, "store", yield* Effect.orDie(encodeEntry(entry)))
})

/** Deletes the credentials of a server from a helper. Returns false if the helper reports that it had none. */
export const erase = (
  spawner: ChildProcessSpawner["Service"],
  name: string,
  server: string
): Effect.Effect<boolean, RegistryError.CredentialsUnavailable> =>
  Effect.map(ask(spawner, name, "erase", server), (printed) => printed !== undefined)
