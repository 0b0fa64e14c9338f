/**
 * `effect-oci catalog HOST`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const Catalog = Schema.Struct({ host: Schema.String, repositories: Schema.Array(Schema.String) })

export const CatalogCommand = Command.make(
  "catalog",
  {
    host: Flags.host,
    fullRef: Flags.onOff("full-ref", "Print each repository with its host"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ fullRef, host, json }) {
    const namespace = yield* Namespace.Namespace
    const registry = yield* namespace.registry(host)
    const repositories = Stream.map(registry.repositories(), (name) => fullRef ? `${host}/${name}` : name)
    if (!json) return yield* Output.lines(repositories)
    yield* Output.json(Catalog, { host, repositories: yield* Stream.runCollect(repositories) })
  })
).pipe(
  Connection.provide("host"),
  Command.withShortDescription("Lists the repositories of a registry"),
  Command.withDescription(
    "Lists the repositories of a registry, one per line. The catalog is not part of the specification; most large " +
      "public registries do not offer it."
  ),
  Command.withExamples([
    { command: "effect-oci catalog 127.0.0.1:5000", description: "List the repositories of a registry on this machine" }
  ])
)
