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
import * as Credentials from "../auth/Credentials.ts"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as DockerLogin from "../auth/DockerLogin.ts"
import * as Namespace from "../Namespace.ts"
import type { Host } from "../Reference.ts"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Output from "./Output.ts"
import * as Password from "./Password.ts"
import { misuse } from "./ReferenceInput.ts"

/** What went wrong with a file or program that keeps credentials. */
export const notKept = ({ problem, source }: CredentialsUnavailable) =>
  new Output.Failure({ message: `${source}: ${problem}` })

/** Asks the registry whether it knows this user. Many do not ask who one is before they are asked for something. */
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
  const refused = ({ detail }: { readonly detail?: string }) =>
    Effect.fail(
      new Output.Failure({ message: `${host} does not know this user${detail === undefined ? "" : `: ${detail}`}` })
    )
  yield* Namespace.Namespace.use((namespace) => namespace.registry(host)).pipe(
    Effect.flatMap(({ ping }) => ping),
    Effect.catchReasons("RegistryError", { Unauthorized: refused, Denied: refused }),
    Effect.provide(Layer.fresh(layerOptions({ ...options, mirrors: {}, credentials })))
  )
  if (!isAsked) yield* Output.note(`${host} does not require authentication: the name and password were not verified`)
})

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
    if (username === "" || Redacted.value(password) === "") return yield* misuse("a name and a password are needed")
    const login: DockerLogin.Login = { _tag: "Basic", username, password }
    yield* check(host, login, connection)
    const { source } = yield* Effect.mapError(DockerLogin.login(host, login, options), notKept)
    const first = (yield* Effect.mapError(DockerConfig.explain({ host }, options), notKept))
      .find(({ found }) => found === "entry" || found === "helper")
    if (first !== undefined && first.source !== source && first.program !== source) {
      yield* Output.note(`${first.source} comes before it, and has other credentials for ${host}`)
    }
    yield* json
      ? Output.json({ host, username, source })
      : Output.line(`logged in to ${host} as ${username}, which is kept by ${source}`)
  })
).pipe(
  Command.withShortDescription("Keep a name and password for a registry"),
  Command.withDescription(
    "Checks a name and password with a registry, and keeps them where docker does: in its config.json, in the file that " +
      "REGISTRY_AUTH_FILE or --authfile names, or in the credential helper that such a file names. All verbs, docker, podman and " +
      "others find them there."
  ),
  Command.withExamples([
    { command: "effect-oci login ghcr.io", description: "Be asked for both" },
    {
      command: "echo $TOKEN | effect-oci login ghcr.io --username ada --password-stdin",
      description: "In a script: nothing secret stands in the command line"
    }
  ])
)
