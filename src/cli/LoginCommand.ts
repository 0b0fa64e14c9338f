/**
 * `effect-oci login HOST`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Credentials from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as DockerLogin from "../auth/DockerLogin.ts"
import * as Namespace from "../Namespace.ts"
import type { Host } from "../Reference.ts"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import * as Password from "./Password.ts"
import { misuse } from "./ReferenceInput.ts"

/** Returns the error about a file or a credential helper. */
export const notKept = ({ problem, source }: CredentialsUnavailable) =>
  new Output.Failure({ message: `${source}: ${problem}` })

/** Verifies a name and password with the registry. Warns if `/v2/` of the registry does not require authentication. */
const check = Effect.fnUntraced(function*(host: Host, credential: DockerLogin.Login, settings: Connection.Settings) {
  let isAsked = false
  const credentials = Credentials.Credentials.of({
    lookup: () =>
      Effect.sync(() => {
        isAsked = true
        return credential
      }),
    refused: () => Effect.void
  })
  const options = yield* Connection.options(settings)
  const { layerOptions } = yield* Effect.promise(() => import("../node/NodeNamespace.ts"))
  const refused = ({ detail }: { readonly detail?: string | undefined }) =>
    Effect.fail(
      new Output.Failure({
        message: `cannot log in to ${host}: unknown name or password${detail === undefined ? "" : `: ${detail}`}`
      })
    )
  yield* Namespace.Namespace.use((namespace) => namespace.registry(host)).pipe(
    Effect.flatMap(({ ping }) => ping),
    Effect.catchReasons("RegistryError", { Unauthorized: refused, Denied: refused }),
    Effect.provide(Layer.fresh(layerOptions({ ...options, mirrors: {}, credentials })))
  )
  if (!isAsked) yield* Messages.note(`${host} does not require authentication: the name and password were not verified`)
})

/** Schema of the result. */
export const Login = Schema.Struct({ host: Schema.String, username: Schema.String, source: Schema.String })

export const LoginCommand = Command.make(
  "login",
  {
    host: Flags.host,
    username: Flag.String("username").pipe(
      Flag.withAlias("u"),
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        "User name. Default: prompt for it on a terminal. <token> if the password is an identity token"
      ),
      Flag.withFallbackPrompt(Prompt.String({ message: "Username" }))
    ),
    ...Password.sourceFlags(""),
    json: Flags.json,
    connection: Connection.commonFlags
  },
  Effect.fnUntraced(function*({ connection, host, json, passwordFile, passwordStdin, username }) {
    const password = yield* Password.read({ passwordFile, passwordStdin })
    const options = { file: Option.getOrUndefined(connection.authfile) }
    if (username === "" || Redacted.value(password) === "") return yield* misuse("a name and a password are required")
    const login: DockerLogin.Login = { _tag: "Basic", username, password }
    yield* check(host, login, connection)
    const { source } = yield* Effect.mapError(DockerLogin.login(host, login, options), notKept)
    const first = (yield* Effect.mapError(DockerConfig.explain({ host }, options), notKept))
      .find(({ found }) => found === "entry" || found === "helper")
    if (first !== undefined && first.source !== source && first.program !== source) {
      yield* Messages.note(`${first.source} takes precedence, and has other credentials for ${host}`)
    }
    yield* json
      ? Output.json(Login, { host, username, source })
      : Output.line(`logged in to ${host} as ${username}, stored in ${source}`)
  })
).pipe(
  Command.withShortDescription("Stores a name and password for a registry"),
  Command.withDescription(
    "Verifies a name and password with a registry, and stores them where docker does: in its config.json, in the " +
      "file that REGISTRY_AUTH_FILE or --authfile names, or in the credential helper of that file. All verbs, docker, " +
      "podman and other tools find them there."
  ),
  Command.withExamples([
    { command: "effect-oci login ghcr.io", description: "Log in with prompts for both" },
    {
      command: "echo $TOKEN | effect-oci login ghcr.io --username ada --password-stdin",
      description: "Log in from a script, without a secret in the command line"
    }
  ])
)
