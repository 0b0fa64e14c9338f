/**
 * Inventories: what a destination has, as a file that is carried to the other side of an air gap.
 *
 * The file has one JSON object in each line. The first names the format, the last has the number of lines and the
 * SHA-256 of everything before it, so that a file that is cut off or changed is refused. Each line between them is a
 * tag, or a referrer of one, with the digest and size of everything below it. The content of a manifest is listed once
 * in each repository.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { CopyError } from "../copy/CopyError.ts"
import type * as CopyPlan from "../copy/CopyPlan.ts"
import { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type * as Namespace from "../Namespace.ts"
import type { Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Files from "../stores/Files.ts"
import { type BundleError, failing } from "./BundleError.ts"
import * as BundleKnown from "./BundleKnown.ts"
import { type Place, reference } from "./Unit.ts"

/**
 * Media type of an inventory.
 *
 * @category constants
 * @since 0.1.0
 */
export const mediaType = "application/vnd.effect-oci.inventory.v1+json"

const Content = Schema.Struct({
  digest: Digest,
  size: Schema.Natural,
  /** Media type of a manifest. Absent for a blob. */
  mediaType: Schema.optionalKey(Schema.String)
})

/**
 * Schema of a line of an inventory.
 *
 * @category schemas
 * @since 0.1.0
 */
export const InventoryLine = Schema.Union([
  Schema.Struct({ mediaType: Schema.Literal(mediaType), version: Schema.Literal(1), at: Schema.String }),
  Schema.Struct({
    /** The repository with its registry. */
    repository: Schema.String,
    /** Absent for a referrer. */
    tag: Schema.optionalKey(Schema.String),
    ...Content.fields,
    /** Everything below it. Absent if an earlier line of the repository has it. */
    content: Schema.optionalKey(Schema.Array(Content))
  }),
  Schema.Struct({ lines: Schema.Natural, digest: Digest })
])

/**
 * A line of an inventory.
 *
 * @category models
 * @since 0.1.0
 */
export type InventoryLine = typeof InventoryLine.Type

// maximum size of a line and of an inventory, in bytes
const maximumLine = 16 * 1024 * 1024
const maximumSize = 1024 * 1024 * 1024

// maximum number of entries of all lines
const maximumEntries = 4_000_000

// number of tags that are looked up at the same time
const concurrency = 8

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

/** A registry without content, so that a plan for a copy to it lists everything. */
const nothing = Registry.make({
  name: "nothing",
  capabilities: Effect.succeed({ referrers: true }),
  resolveManifest: (repository) =>
    Effect.fail(RegistryError.failing("nothing")("resolveManifest", repository)(new RegistryError.ManifestUnknown({}))),
  resolveBlob: (repository) =>
    Effect.fail(RegistryError.failing("nothing")("resolveBlob", repository)(new RegistryError.BlobUnknown({}))),
  referrers: () => Stream.empty
})

/** A manifest that a tag points at, or a referrer, with everything below it. */
interface Group {
  readonly manifest: Node
  readonly content: ReadonlyArray<Node>
}

type Node = Pick<CopyPlan.Node, "descriptor" | "role">

/** Divides a plan into the root and the referrers. */
const groupsOf = ({ edges, nodes, root }: CopyPlan.CopyPlan): ReadonlyArray<Group> => {
  const byDigest = new Map(nodes.map((node) => [node.descriptor.digest, node]))
  const below = Map.groupBy(edges.filter(({ kind }) => kind === "child" || kind === "blob"), ({ from }) => from)
  const referrers = edges.flatMap(({ kind, to }) => kind === "referrer" ? [to] : [])
  return Array.from(new Set([root.digest, ...referrers])).flatMap((digest) => {
    const manifest = byDigest.get(digest)
    if (manifest === undefined) return []
    const found = new Set([digest])
    for (const each of found) {
      for (const { to } of below.get(each) ?? []) found.add(to)
    }
    found.delete(digest)
    return [{ manifest, content: Array.from(found).flatMap((each) => byDigest.get(each) ?? []) }]
  })
}

const contentOf = ({ descriptor: { digest, mediaType, size }, role }: Node): typeof Content.Type => ({
  digest,
  size,
  ...role === "blob" ? {} : { mediaType }
})

/** A tag with the manifests that it leads to. */
interface Listed {
  readonly tag: Tag
  readonly root: Digest
  readonly groups: ReadonlyArray<Group>
}

const hasNoParts = (error: CopyError): boolean =>
  error.end === "source" && (error.reason._tag === "ManifestUnknown" || error.reason._tag === "BlobUnknown")

/** Looks up a tag. Returns `undefined` if it has gone, and no content if the image is not complete. */
const lookUp = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  place: Place,
  tag: Tag
): Effect.fn.Return<Listed | undefined, CopyError | Namespace.NamespaceError> {
  const plan = yield* namespace.planCopy({
    source: reference(place, { tag }),
    destination: { registry: nothing, repository: place.repository }
  }).pipe(Effect.catchIf(hasNoParts, () => Effect.undefined))
  if (plan !== undefined) return { tag, root: plan.root.digest, groups: groupsOf(plan) }
  const found = yield* Effect.catchIf(
    namespace.resolveManifest(reference(place, { tag })),
    (error) => RegistryError.isRegistryError(error) && RegistryError.isAbsence(error),
    () => Effect.undefined
  )
  return found && { tag, root: found.digest, groups: [{ manifest: { descriptor: found, role: "root" }, content: [] }] }
})

/** Returns the lines of one tag. `listed` has the digests of the repository that earlier lines have. */
const linesOf = (place: Place, { groups, root, tag }: Listed, listed: Set<Digest>): ReadonlyArray<InventoryLine> =>
  groups.flatMap(({ content, manifest: { descriptor: { digest, mediaType, size } } }): ReadonlyArray<InventoryLine> => {
    const isRoot = digest === root
    const isListed = listed.has(digest)
    if (isListed && !isRoot) return []
    listed.add(digest)
    return [{
      repository: `${place.registry}/${place.repository}`,
      ...isRoot ? { tag } : {},
      digest,
      size,
      mediaType,
      ...isListed ? {} : { content: content.map(contentOf) }
    }]
  })

const encodeLine = Schema.encodeEffect(Schema.fromJsonString(Schema.toCodecJson(InventoryLine)))

const textOf = (line: InventoryLine): Effect.Effect<Uint8Array> =>
  Effect.map(Effect.orDie(encodeLine(line)), (text) => new TextEncoder().encode(`${text}\n`))

/**
 * Returns the bytes of the inventory of some repositories. A repository that does not exist has no lines.
 *
 * @category constructors
 * @since 0.1.0
 */
export const write = <E, R>(
  namespace: Namespace.Namespace["Service"],
  places: Stream.Stream<Place, E, R>
): Stream.Stream<Uint8Array, E | CopyError | Namespace.NamespaceError | Hasher.UnsupportedAlgorithm, R> =>
  Stream.unwrap(Effect.gen(function*() {
    const hasher = yield* Hasher.Hasher
    const hash = yield* hasher.make("sha256")
    let lines = 0
    const header = Effect.map(DateTime.now, (now): InventoryLine => ({
      mediaType,
      version: 1,
      at: DateTime.formatIso(now)
    }))
    const body = Stream.flatMap(places, (place) => {
      const listed = new Set<Digest>()
      return namespace.tags(reference(place)).pipe(
        Stream.catchIf(
          (error) => RegistryError.isRegistryError(error) && error.reason._tag === "NameUnknown",
          () => Stream.empty
        ),
        Stream.mapEffect((tag) => lookUp(namespace, place, tag), { concurrency }),
        Stream.map((tag) => tag === undefined ? [] : linesOf(place, tag, listed)),
        Stream.flatMap(Stream.fromIterable)
      )
    })
    const counted = Stream.concat(Stream.fromEffect(header), body).pipe(
      Stream.mapEffect(textOf),
      Stream.tap((bytes) => {
        lines++
        return hash.update([bytes])
      })
    )
    const end = Stream.fromEffect(
      Effect.suspend(() => Effect.flatMap(hash.digest, (digest) => textOf({ lines, digest })))
    )
    return Stream.concat(counted, end)
  }))

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

const decodeLine = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.toCodecJson(InventoryLine)))

/** Returns true if a file begins as an inventory does. */
export const isInventory = (
  path: string
): Effect.Effect<boolean, BundleError, FileSystem.FileSystem> =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const info = yield* Files.orAbsent(path, fs.stat(path))
    if (info?.type !== "File") return false
    const file = yield* Effect.mapError(fs.open(path), Files.refusal(path))
    const start = yield* Effect.mapError(file.readAlloc(mediaType.length + 20), Files.refusal(path))
    return new TextDecoder().decode(Option.getOrElse(start, () => new Uint8Array())).startsWith(
      `{"mediaType":"${mediaType}"`
    )
  })).pipe(Effect.mapError(({ message }) => failing(path)("Unreadable", message)))

/** Cuts bytes into lines. Fails if a line is too long, or if the last one does not end. */
const toLines = (path: string, stream: Stream.Stream<Uint8Array, BundleError>) => {
  const broken = failing(path)
  let held = new Uint8Array()
  const cut = (chunk: Uint8Array): Effect.Effect<ReadonlyArray<Uint8Array>, BundleError> =>
    Effect.suspend(() => {
      const lines: Array<Uint8Array> = []
      let rest = chunk
      for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
        const part = rest.subarray(0, at + 1)
        lines.push(held.length === 0 ? part : join(held, part))
        held = new Uint8Array()
        rest = rest.subarray(at + 1)
      }
      held = join(held, rest)
      return held.length > maximumLine || lines.some(({ length }) => length > maximumLine)
        ? Effect.fail(broken("Invalid", `a line has more than ${maximumLine} bytes`))
        : Effect.succeed(lines)
    })
  return stream.pipe(
    Stream.mapEffect(cut),
    Stream.flatMap(Stream.fromIterable),
    Stream.onEnd(Effect.suspend(() => held.length === 0 ? Effect.void : broken("Invalid", "it is cut off")))
  )
}

const join = (one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> => {
  const all = new Uint8Array(one.length + other.length)
  all.set(one)
  all.set(other, one.length)
  return all
}

/** Reads an inventory, and adds what it lists. */
export const read = Effect.fnUntraced(function*(
  path: string,
  known: BundleKnown.BundleKnown
): Effect.fn.Return<void, BundleError, FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const broken = failing(path)
  const unreadable = Effect.mapError((error: { readonly message: string }) => broken("Unreadable", error.message))
  const info = yield* unreadable(fs.stat(path))
  if (info.size > BigInt(maximumSize)) return yield* broken("Invalid", `it has more than ${maximumSize} bytes`)
  const hasher = yield* Hasher.Hasher
  const seen = new Map<string, Map<Digest, ReadonlyArray<typeof Content.Type>>>()
  let at: string | undefined
  let end: (InventoryLine & { readonly lines: number }) | undefined
  let lines = 0
  let entries = 0

  const add = Effect.fnUntraced(function*(line: InventoryLine) {
    if (end !== undefined) return yield* broken("Invalid", "it has lines after its end")
    if ("version" in line) {
      if (at !== undefined) return yield* broken("Invalid", "it begins twice")
      at = line.at
      return
    }
    if (at === undefined) return yield* broken("Invalid", "it does not begin as an inventory does")
    if ("lines" in line) {
      end = line
      return
    }
    const { digest, mediaType, repository, size, tag } = line
    const earlier = seen.get(repository) ?? new Map<Digest, ReadonlyArray<typeof Content.Type>>()
    seen.set(repository, earlier)
    const content = line.content ?? earlier.get(digest) ?? []
    earlier.set(digest, content)
    entries += 1 + content.length
    if (entries > maximumEntries) return yield* broken("Invalid", `it has more than ${maximumEntries} entries`)
    for (const each of [{ digest, size, ...mediaType === undefined ? {} : { mediaType } }, ...content]) {
      BundleKnown.addContent(known, repository, each)
    }
    known.images.set(digest, content.map(({ digest }) => digest))
    if (tag !== undefined) BundleKnown.repositoryOf(known, repository).tags.set(tag, digest)
  })

  yield* Effect.scoped(Effect.gen(function*() {
    const hash = yield* unreadable(hasher.make("sha256"))
    const bytes = Stream.mapError(fs.stream(path), ({ message }) => broken("Unreadable", message))
    yield* Stream.runForEach(toLines(path, bytes), (line) =>
      Effect.gen(function*() {
        const text = new TextDecoder().decode(line)
        const decoded = yield* Effect.fromResult(
          Result.mapError(decodeLine(text), () => broken("Invalid", `line ${lines + 1} is not that of an inventory`))
        )
        yield* add(decoded)
        if (end !== undefined) return
        lines++
        yield* hash.update([line])
      }))
    const digest = yield* hash.digest
    if (end === undefined) return yield* broken("Invalid", "it is cut off")
    if (!("digest" in end) || end.digest !== digest || end.lines !== lines) {
      return yield* broken("Damaged", "its checksum does not match")
    }
    known.base.push({ kind: "inventory", id: digest, at: at ?? "" })
  }))
})
