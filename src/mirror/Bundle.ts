/**
 * Bundles carry a mirror across an air gap. A bundle is an image layout with what the rules of a mirror select, and
 * with the list of where each tag belongs. It has only what the other side lacks, according to earlier bundles or to an
 * inventory of it.
 *
 * **Example** (A full bundle, and one with what has changed since)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer, Result } from "effect"
 * import * as Bundle from "effect-oci/Bundle"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const config = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "outside.test/app", to: "inside.test/mirror" }]
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const [outside, inside] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
 *   const here = Namespace.make({ resolver: Resolver.static({ "outside.test": outside }) })
 *   const there = Namespace.make({ resolver: Resolver.static({ "inside.test": inside }) })
 *   const carry = (path: string, since: ReadonlyArray<string>) =>
 *     Bundle.exportTo(path, config, { since }).pipe(
 *       Effect.provideService(Namespace.Namespace, here),
 *       Effect.andThen(Effect.provideService(Bundle.importFrom(path), Namespace.Namespace, there))
 *     )
 *
 *   yield* Images.pushImage(outside, Images.repository("app"), ["base", "1"], { tags: [Images.tag("1")] })
 *   yield* carry("first.tar", [])
 *   yield* Images.pushImage(outside, Images.repository("app"), ["base", "2"], { tags: [Images.tag("2")] })
 *   const report = yield* carry("second.tar", ["first.tar"])
 *   return report.tags.map(({ name, outcome }) => `${name} ${outcome}`)
 * })
 *
 * const tags = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * tags // => ["inside.test/mirror:1 unchanged", "inside.test/mirror:2 set"]
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { CopyError } from "../copy/CopyError.ts"
import { Digest } from "../Digest.ts"
import type { UnsupportedAlgorithm } from "../Hasher.ts"
import * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import { printable } from "../Text.ts"
import * as BundleCheck from "./BundleCheck.ts"
import { type BundleError, failing } from "./BundleError.ts"
import * as BundleExport from "./BundleExport.ts"
import * as BundleFile from "./BundleFile.ts"
import * as BundleImport from "./BundleImport.ts"
import * as BundleKnown from "./BundleKnown.ts"
import * as BundleOutput from "./BundleOutput.ts"
import * as Inventory from "./Inventory.ts"
import * as InventoryPlaces from "./InventoryPlaces.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorRule, OnTagMoved } from "./MirrorRule.ts"
import type { Place } from "./Unit.ts"

export {
  /** @since 0.1.0 */
  type BundleContent,
  /** @since 0.1.0 */
  BundleContents,
  /** @since 0.1.0 */
  type BundleRepository,
  /** @since 0.1.0 */
  mediaType
} from "./BundleContents.ts"

export {
  /** @since 0.1.0 */
  BundleError
} from "./BundleError.ts"

export {
  /** @since 0.1.0 */
  InventoryLine,
  /** @since 0.1.0 */
  mediaType as inventoryMediaType
} from "./Inventory.ts"

/** Receives a line of text about each step. */
type Progress = (text: string) => Effect.Effect<void>

const quietly: Progress = () => Effect.void

// ---------------------------------------------------------------------------------------------------------------------
// exporting
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Options of an export.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExportOptions {
  /**
   * Paths of bundles, of their lists of contents, or of inventories, which say what the other side has. Oldest first.
   */
  readonly since?: ReadonlyArray<string> | undefined
  /** Size of a piece, in bytes. Default: the bundle is one folder or one file. */
  readonly maximumSize?: number | undefined
  /** Chooses the rules. Default: all. */
  readonly rules?: ((rule: MirrorRule) => boolean) | undefined
  /**
   * Policy for tags that cannot be exported. `fail`: the export fails, and can be run again. `omit`: the bundle lists
   * them as omitted. Default: `fail`.
   */
  readonly onFailure?: "fail" | "omit" | undefined
  /** Number of tags that are copied at the same time. Default: 8. */
  readonly copies?: number | undefined
  readonly progress?: Progress | undefined
}

/**
 * Report of an export.
 *
 * @category models
 * @since 0.1.0
 */
export class ExportReport extends Schema.Class<ExportReport>("effect-oci/Bundle/ExportReport")({
  path: Schema.String,
  /** Path of the file with the list of contents. */
  list: Schema.String,
  /** Digest of `bundle.json`. */
  digest: Digest,
  id: Digest,
  /** Ids of the bundles and inventories that say what the other side has. */
  base: Schema.Array(Digest),
  tags: Schema.Natural,
  /** Number of blobs and manifests in the bundle. */
  carried: Schema.Natural,
  /** Number of blobs and manifests that the destination is expected to have. */
  assumed: Schema.Natural,
  /** Size of all files, in bytes. */
  bytes: Schema.Natural,
  pieces: Schema.Array(Schema.String),
  /** Tags that are not in the bundle, with the reasons. */
  omitted: Schema.Array(Schema.Struct({ name: Schema.String, tag: Schema.String, problem: Schema.String }))
}) {}

const readKnown = Effect.fnUntraced(function*(since: ReadonlyArray<string>) {
  const known = BundleKnown.make()
  for (const path of since) {
    if (yield* Inventory.isInventory(path)) yield* Inventory.read(path, known)
    else {
      const { contents } = yield* Effect.scoped(BundleFile.open(path))
      BundleKnown.addBundle(known, contents)
    }
  }
  return known
})

/**
 * Writes a bundle with what the rules select, to a folder, or to a file if the path ends with `.tar`. An export that
 * was interrupted is continued by another one to the same path. The state of the mirror is neither read nor changed.
 *
 * @category exporting
 * @since 0.1.0
 */
export const exportTo = Effect.fn("Bundle.exportTo")(function*(
  path: string,
  config: Pick<MirrorConfig, "rules">,
  options: ExportOptions = {}
): Effect.fn.Return<ExportReport, BundleError, FileSystem.FileSystem | Namespace.Namespace | Path.Path> {
  return yield* Effect.scoped(Effect.gen(function*() {
    const known = yield* readKnown(options.since ?? [])
    const output = yield* BundleOutput.open(path, options.maximumSize)
    const listed = yield* BundleExport.toLayout(config, known, output.layout, options)
    if (listed.omitted.length > 0 && options.onFailure !== "omit") {
      return yield* failing(path)(
        "Incomplete",
        "some tags could not be exported; run the export again to continue",
        listed.omitted.map(({ name, problem, tag }) => `${name}:${tag} (${problem})`)
      )
    }
    const { bytes, contents, digest, list } = yield* output.finish(listed)
    const assumed = contents.content.filter((each) => each.assumed === true).length
    return new ExportReport({
      path,
      list,
      digest,
      id: contents.id,
      base: contents.base.map(({ id }) => id),
      tags: contents.repositories.reduce((sum, { tags }) => sum + tags.length, 0),
      carried: contents.content.length - assumed,
      assumed,
      bytes,
      pieces: contents.pieces.map(({ name }) => name),
      omitted: contents.omitted
    })
  }))
})

// ---------------------------------------------------------------------------------------------------------------------
// importing
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Options of an import.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImportOptions {
  /** Host, with a prefix if there is one, that replaces the hosts in the bundle. */
  readonly to?: string | undefined
  /** Digest that `bundle.json` must have, for example because it came another way. */
  readonly digest?: Digest | undefined
  /** Returns the policy of a rule for tags that point at another image. Default: the policy in the bundle. */
  readonly onTagMoved?: ((rule: string) => OnTagMoved | undefined) | undefined
  /** Chooses the rules, by their name. Default: all. */
  readonly rules?: ((rule: { readonly name: string }) => boolean) | undefined
  /** Number of tags that are copied at the same time. Default: 8. */
  readonly copies?: number | undefined
  readonly progress?: Progress | undefined
}

/**
 * Report of an import.
 *
 * @category models
 * @since 0.1.0
 */
export class ImportReport extends Schema.Class<ImportReport>("effect-oci/Bundle/ImportReport")({
  id: Digest,
  /** When the bundle was made. */
  at: Schema.String,
  tags: Schema.Array(Schema.Struct({
    /** The tag, with its repository and registry. */
    name: Schema.String,
    outcome: Schema.Literals(["set", "unchanged", "kept", "refused", "failed"]),
    /** Reason, or a warning about what the tag pointed at before. */
    problem: Schema.optionalKey(Schema.String)
  })),
  /** Number of bytes that were sent. */
  bytes: Schema.Natural,
  /** Number of blobs that were mounted from other repositories. */
  mounted: Schema.Natural,
  /** Tags that the bundle does not have, with the reasons. */
  omitted: Schema.Array(Schema.Struct({ name: Schema.String, tag: Schema.String, problem: Schema.String }))
}) {
  /** True if a tag was refused or has failed. */
  get hasFailures(): boolean {
    return this.tags.some(({ outcome }) => outcome === "failed" || outcome === "refused")
  }
}

/** Returns the place of a repository of a bundle, at the host that replaces its own. */
const placeOf = (name: string, to: string | undefined): Result.Result<Place, Reference.InvalidReference> => {
  const repository = name.slice(name.indexOf("/") + 1)
  return Result.map(
    Reference.parse(to === undefined ? name : `${to.replace(/\/+$/, "")}/${repository}`),
    ({ registry, repository }) => ({ registry, repository })
  )
}

/**
 * Imports a bundle. Verifies everything first: the pieces, the digest of all content, and that the destination has what
 * the bundle expects there. No tag is set before that. An import may be interrupted and run again. Content that the
 * destination has is not sent.
 *
 * @category importing
 * @since 0.1.0
 */
export const importFrom = Effect.fn("Bundle.importFrom")(function*(
  path: string,
  options: ImportOptions = {}
): Effect.fn.Return<
  ImportReport,
  BundleError | Namespace.NamespaceError,
  FileSystem.FileSystem | Namespace.Namespace | Path.Path
> {
  return yield* Effect.scoped(Effect.gen(function*() {
    const file = yield* BundleFile.open(path)
    const { contents, digest } = file
    if (options.digest !== undefined && options.digest !== digest) {
      return yield* failing(path)("Damaged", `its list of contents has the digest ${digest}, not ${options.digest}`)
    }
    const isChosen = (rule: string) => options.rules?.({ name: rule }) ?? true
    const targets = yield* Effect.forEach(contents.repositories, (entry) =>
      placeOf(entry.name, options.to).pipe(
        Result.map((place) => ({ place, entry: isChosen(entry.rule) ? entry : { ...entry, tags: [], referrers: [] } })),
        Effect.fromResult,
        Effect.mapError(({ message }) => failing(path)("Invalid", `the repository ${entry.name}: ${message}`))
      ))
    const progress = options.progress ?? quietly
    const bundle = yield* BundleCheck.check(file, progress)
    const { mounted, results } = yield* BundleImport.run(bundle, targets, { ...options, progress })
    return new ImportReport({
      id: contents.id,
      at: contents.at,
      tags: results.map(({ name, outcome, problem }) => ({
        name,
        outcome,
        ...problem === undefined ? {} : { problem: printable(problem) }
      })),
      bytes: results.reduce((sum, { bytes }) => sum + bytes, 0),
      mounted: results.reduce((sum, { mounted }) => sum + mounted, mounted),
      omitted: contents.omitted
    })
  }))
})

/**
 * Verifies a bundle without a registry: the pieces, the digest of all content, and that every manifest has its content
 * in the bundle or among what the destination is expected to have. Returns the list of contents.
 *
 * @category importing
 * @since 0.1.0
 */
export const verify = Effect.fn("Bundle.verify")(function*(
  path: string,
  options: { readonly progress?: Progress | undefined } = {}
) {
  return yield* Effect.scoped(Effect.gen(function*() {
    const file = yield* BundleFile.open(path)
    yield* BundleCheck.check(file, options.progress ?? quietly)
    return file.contents
  }))
})

// ---------------------------------------------------------------------------------------------------------------------
// inventories
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Returns the bytes of an inventory: the tags of the destinations of some rules, or of the repositories of registries,
 * with the digests of everything below them.
 *
 * @category inventories
 * @since 0.1.0
 */
export const inventory = (
  of:
    | { readonly rules: ReadonlyArray<MirrorRule> }
    /** Registries, each with a prefix of the repositories if there is one. */
    | { readonly registries: ReadonlyArray<string> }
): Stream.Stream<
  Uint8Array,
  BundleError | CopyError | Namespace.NamespaceError | UnsupportedAlgorithm,
  Namespace.Namespace
> =>
  Stream.unwrap(Effect.map(Namespace.Namespace, (namespace) =>
    Inventory.write(
      namespace,
      "rules" in of
        ? InventoryPlaces.ofRules(namespace, of.rules)
        : InventoryPlaces.ofRegistries(namespace, of.registries)
    )))
