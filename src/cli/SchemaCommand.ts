/**
 * `effect-oci schema [NAME]`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Removed } from "./Documents.ts"
import * as Flags from "./Flags.ts"
import { Message } from "./Messages.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"
import { version } from "./version.ts"

/** Schema of the list of names. */
export const Names = Schema.Struct({ names: Schema.Array(Schema.String) })

/** A document that the command prints. */
interface Document {
  readonly description: string
  /** Loads the schema, which may be in the module of a verb. */
  readonly schema: Effect.Effect<Schema.Constraint>
}

const known = (description: string, schema: Schema.Constraint): Document => ({
  description,
  schema: Effect.succeed(schema)
})

const loaded = (description: string, load: () => Promise<Schema.Constraint>): Document => ({
  description,
  schema: Effect.promise(load)
})

const descriptor = (verb: string) => known(`The descriptor that ${verb} --json prints.`, Descriptor)
const removed = (verb: string) => known(`The result of ${verb} --json.`, Removed)

/** Every document that the command prints, by name. */
const documents: Readonly<Record<string, Document>> = {
  "blob-delete": removed("blob delete"),
  "blob-get": descriptor("blob get"),
  "blob-head": descriptor("blob head"),
  "blob-put": descriptor("blob put"),
  catalog: loaded(
    "The repositories that catalog --json prints.",
    () => import("./CatalogCommand.ts").then((_) => _.Catalog)
  ),
  copy: loaded(
    "The report that copy --json prints for one destination.",
    () => import("../copy/CopyReport.ts").then((_) => _.CopyReport)
  ),
  "copy-many": loaded(
    "The results that copy --json prints for several destinations, or with --all-tags.",
    () => import("./CopyDocuments.ts").then((_) => _.CopyResults)
  ),
  delete: removed("delete"),
  diff: loaded("The differences that diff --json prints.", () => import("./DiffCommand.ts").then((_) => _.Diff)),
  gc: loaded("The report that gc --json prints.", () => import("./CollectionFlags.ts").then((_) => _.Result)),
  login: loaded("The result of login --json.", () => import("./LoginCommand.ts").then((_) => _.Login)),
  logout: loaded("The result of logout --json.", () => import("./LogoutCommand.ts").then((_) => _.Logout)),
  "manifest-delete": removed("manifest delete"),
  "manifest-get": loaded(
    "The descriptor and the manifest that manifest get --json prints.",
    () => import("./ManifestGetCommand.ts").then((_) => _.DescribedManifest)
  ),
  "manifest-inspect": loaded(
    "The descriptor, the manifest and the config that manifest inspect --json prints.",
    () => import("./ManifestInspectCommand.ts").then((_) => _.InspectedManifest)
  ),
  "manifest-put": descriptor("manifest put"),
  message: known("One line on stderr with --json.", Message),
  plan: loaded(
    "The plan that plan --json, or copy --dry-run --json, prints for one destination.",
    () => import("../copy/CopyPlan.ts").then((_) => _.CopyPlan)
  ),
  "plan-many": loaded(
    "The plans that plan --json, or copy --dry-run --json, prints for several destinations, or with --all-tags.",
    () => import("./PlanCommand.ts").then((_) => _.CopyPlans)
  ),
  referrers: loaded(
    "The descriptors that referrers --json prints.",
    () => import("./ReferrersCommand.ts").then((_) => _.Referrers)
  ),
  resolve: descriptor("resolve"),
  schema: known("The names that schema --json prints.", Names),
  serve: loaded("The address that serve --json prints.", () => import("./ServeCommand.ts").then((_) => _.Listening)),
  tag: loaded("The references that tag --json prints.", () => import("./TagCommand.ts").then((_) => _.Tagged)),
  tags: loaded("The tags that tags --json prints.", () => import("./TagsCommand.ts").then((_) => _.Tags)),
  tree: loaded("The content that tree --json prints.", () => import("./TreeCommand.ts").then((_) => _.ContentTree))
}

/** Returns the JSON Schema of a document. Its `$id` contains the version of the command. */
const jsonSchema = Effect.fnUntraced(function*(name: string, { description, schema: load }: Document) {
  const { definitions, schema } = Schema.toJsonSchemaDocument(yield* load)
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $id: `urn:effect-oci:${version}:${name}`,
    title: `effect-oci ${name}`,
    description,
    ...schema,
    ...Object.keys(definitions).length === 0 ? {} : { $defs: definitions }
  }
})

export const SchemaCommand = Command.make(
  "schema",
  {
    name: Argument.String("name").pipe(
      Argument.withMetavar("name"),
      Argument.withDescription("Name of a document. Default: list the names"),
      Argument.optional
    ),
    json: Flags.onOff("json", "Print the names as JSON; a schema is always JSON")
  },
  Effect.fnUntraced(function*({ json, name }) {
    const names = Object.keys(documents)
    if (Option.isNone(name)) return yield* json ? Output.json(Names, { names }) : Output.text(names)
    const document = Object.hasOwn(documents, name.value) ? documents[name.value] : undefined
    if (document === undefined) {
      return yield* misuse(`unknown document ${JSON.stringify(name.value)}: use one of ${names.join(", ")}`)
    }
    yield* Output.json(Schema.Unknown, yield* jsonSchema(name.value, document))
  })
).pipe(
  Command.withShortDescription("Prints the JSON Schema of an output of this command"),
  Command.withDescription(
    "Prints the JSON Schema (draft 2020-12) of a document that a verb prints with --json, or of a line on stderr " +
      "(message). Without a name, lists the names."
  ),
  Command.withExamples([
    { command: "effect-oci schema", description: "List the names" },
    { command: "effect-oci schema copy > copy.schema.json", description: "Write the schema of the report of a copy" }
  ])
)
