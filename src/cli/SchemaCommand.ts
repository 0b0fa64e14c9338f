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
  /** True for a file that people write: fields that are not in the schema are errors. */
  readonly isStrict?: boolean | undefined
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

const pushReport = (verb: string) =>
  loaded(`The report that ${verb} --json prints.`, () => import("../artifact/Artifact.ts").then((_) => _.PushReport))

const editReport = (verb: string) =>
  loaded(`The report that ${verb} --json prints.`, () => import("./EditFlags.ts").then((_) => _.EditReport))

/** Every document that the command prints, by name. */
const documents: Readonly<Record<string, Document>> = {
  append: editReport("append"),
  attach: pushReport("attach"),
  "blob-delete": removed("blob delete"),
  "blob-get": descriptor("blob get"),
  "blob-head": descriptor("blob head"),
  "blob-put": descriptor("blob put"),
  bundle: loaded(
    "The list of contents of a bundle, bundle.json.",
    () => import("../mirror/BundleContents.ts").then((_) => _.BundleContents)
  ),
  "bundle-export": loaded(
    "The report that mirror bundle export --json prints.",
    () => import("../mirror/Bundle.ts").then((_) => _.ExportReport)
  ),
  "bundle-import": loaded(
    "The report that mirror bundle import --json prints.",
    () => import("../mirror/Bundle.ts").then((_) => _.ImportReport)
  ),
  "bundle-inventory": loaded(
    "A line of the file that mirror bundle inventory writes.",
    () => import("../mirror/Inventory.ts").then((_) => _.InventoryLine)
  ),
  catalog: loaded(
    "The repositories that catalog --json prints.",
    () => import("./CatalogCommand.ts").then((_) => _.Catalog)
  ),
  config: loaded(
    "The reference, the descriptor and the config that config --json prints.",
    () => import("./ConfigCommand.ts").then((_) => _.DescribedConfig)
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
  "files-cat": loaded(
    "The file that files cat --json prints.",
    () => import("./FilesCatCommand.ts").then((_) => _.PrintedFile)
  ),
  "files-export": loaded(
    "The result that files export --json prints.",
    () => import("./FilesExportCommand.ts").then((_) => _.ExportedFiles)
  ),
  "files-ls": loaded(
    "The files that files ls --json prints.",
    () => import("./FilesListCommand.ts").then((_) => _.ListedFiles)
  ),
  gc: loaded("The report that gc --json prints.", () => import("./CollectionFlags.ts").then((_) => _.Result)),
  "index-add": descriptor("index add"),
  "index-annotate": descriptor("index annotate"),
  "index-create": descriptor("index create"),
  "index-remove": descriptor("index remove"),
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
  mirror: {
    ...loaded(
      "The file that declares a mirror, for editors.",
      () => import("../mirror/MirrorConfig.ts").then((_) => _.MirrorFile)
    ),
    isStrict: true
  },
  "mirror-changes": loaded(
    "The differences that mirror plan --compare --json prints.",
    () => import("./MirrorPlanCommand.ts").then((_) => _.MirrorChanges)
  ),
  "mirror-check": loaded(
    "The rules that mirror check --json prints.",
    () => import("./MirrorCheckCommand.ts").then((_) => _.CheckedMirror)
  ),
  "mirror-convert": loaded(
    "The file and the omissions that mirror convert --json prints.",
    () => import("./MirrorConvertCommand.ts").then((_) => _.ConvertedMirror)
  ),
  "mirror-plan": loaded(
    "The plan that mirror plan --json prints.",
    () => import("../mirror/MirrorPlan.ts").then((_) => _.MirrorPlan)
  ),
  "mirror-report": loaded(
    "The report that mirror run --json prints.",
    () => import("../mirror/MirrorReport.ts").then((_) => _.MirrorReport)
  ),
  "mirror-drain": loaded(
    "The result of mirror drain --json.",
    () => import("./MirrorDrainCommand.ts").then((_) => _.MirrorDrained)
  ),
  "mirror-retry": loaded(
    "The result of mirror retry --json.",
    () => import("./MirrorRetryCommand.ts").then((_) => _.MirrorRetried)
  ),
  "mirror-state-copy": loaded(
    "The numbers of rows that mirror state copy --json prints.",
    () => import("./MirrorStateCommand.ts").then((_) => _.CopiedMirrorState)
  ),
  "mirror-status": loaded(
    "The state that mirror status --json prints.",
    () => import("./MirrorStatusCommand.ts").then((_) => _.MirrorStatus)
  ),
  mutate: editReport("mutate"),
  plan: loaded(
    "The plan that plan --json, or copy --dry-run --json, prints for one destination.",
    () => import("../copy/CopyPlan.ts").then((_) => _.CopyPlan)
  ),
  "plan-many": loaded(
    "The plans that plan --json, or copy --dry-run --json, prints for several destinations, or with --all-tags.",
    () => import("./PlanCommand.ts").then((_) => _.CopyPlans)
  ),
  pull: loaded(
    "The report that pull --json prints.",
    () => import("../artifact/Artifact.ts").then((_) => _.PullReport)
  ),
  push: pushReport("push"),
  rebase: editReport("rebase"),
  referrers: loaded(
    "The descriptors that referrers --json prints.",
    () => import("./ReferrersCommand.ts").then((_) => _.Referrers)
  ),
  resolve: descriptor("resolve"),
  "resolve-many": loaded(
    "The references and descriptors that resolve --json prints for several images.",
    () => import("./ResolveCommand.ts").then((_) => _.ResolvedMany)
  ),
  schema: known("The names that schema --json prints.", Names),
  "mirror-serve": loaded(
    "The address that mirror serve --json prints.",
    () => import("./MirrorServeCommand.ts").then((_) => _.ServedMirror)
  ),
  "mirror-service": loaded(
    "The status of a mirror at /status.json of mirror serve.",
    () => import("../mirror-web/MirrorStatus.ts").then((_) => _.MirrorStatus)
  ),
  "mirror-notification": loaded(
    "The notification that webhooks of mirror serve receive.",
    () => import("../mirror/MirrorNotification.ts").then((_) => _.MirrorNotification)
  ),
  serve: loaded("The address that serve --json prints.", () => import("./ServeCommand.ts").then((_) => _.Listening)),
  "serve-access": loaded(
    "The file of serve --access.",
    () => import("./Access.ts").then((_) => _.AccessFile)
  ),
  "serve-check": loaded(
    "What serve --check-config --json prints.",
    () => import("./ServeCheck.ts").then((_) => _.CheckedConfiguration)
  ),
  "serve-config": loaded(
    "The file of serve --config.",
    () => import("./ServeSettings.ts").then((_) => _.ServeConfig)
  ),
  tag: loaded("The references that tag --json prints.", () => import("./TagCommand.ts").then((_) => _.Tagged)),
  tags: loaded("The tags that tags --json prints.", () => import("./TagsCommand.ts").then((_) => _.Tags)),
  tree: loaded("The content that tree --json prints.", () => import("./TreeCommand.ts").then((_) => _.ContentTree)),
  validate: loaded(
    "The report that validate --json prints.",
    () => import("../artifact/Validation.ts").then((_) => _.Report)
  )
}

/** Returns the JSON Schema of a document. Its `$id` contains the version of the command. */
const jsonSchema = Effect.fnUntraced(function*(name: string, { description, isStrict, schema: load }: Document) {
  const { definitions, schema } = Schema.toJsonSchemaDocument(yield* load, {
    onExcessProperty: isStrict === true ? "error" : "ignore"
  })
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
    "Prints the JSON Schema (draft 2020-12) of a document that a verb prints with --json, of a line on stderr " +
      "(message), or of the file of a mirror (mirror). Without a name, lists the names."
  ),
  Command.withExamples([
    { command: "effect-oci schema", description: "List the names" },
    { command: "effect-oci schema copy > copy.schema.json", description: "Write the schema of the report of a copy" },
    {
      command: "effect-oci schema mirror > mirror.schema.json",
      description: "Write the schema of the file of a mirror"
    }
  ])
)
