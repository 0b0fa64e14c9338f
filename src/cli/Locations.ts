/**
 * What an argument names: an image in a registry, in a folder or in an archive.
 *
 * - `host/repository[:tag][@digest]`
 * - `oci:DIR[:tag][@digest]`: an image layout in a folder
 * - `oci-archive:FILE[:tag][@digest]`: one in a tar archive
 * - `oci:DIR:host/name[:tag]` and `oci-archive:FILE:host/name[:tag]`: an image in one of these, to read, by its full
 *   name
 * - `docker-archive:FILE[:name[:tag]][@digest]`: what `docker save` wrote, to read
 *
 * Of a folder or file, what follows the last colon is a tag unless there is a slash or backslash in it, and what
 * follows the last `@` a digest if it begins with `sha256:` or `sha512:`. So `oci:C:\images` is a folder, and so is
 * `oci:a:b/`, while `oci:a:b` is the tag `b` in the folder `a`. A full name needs a layout or an archive that exists,
 * and no folder or file that is called like all of it. The file of a `docker-archive` ends at the first colon that is
 * not that of a drive.
 */
import type * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import type { DockerArchive } from "../stores/DockerArchive.ts"
import type { LayoutRegistry, NamedManifest } from "../stores/LayoutRegistry.ts"
import * as LocationError from "./LocationError.ts"
import * as Output from "./Output.ts"
import { misuse as invalid, readReference } from "./ReferenceInput.ts"

export interface Location {
  readonly end: Exclude<Namespace.End, string>
  /** What it is called under another tag or digest. */
  readonly format: (part: Part) => string
}

/**
 * What is to be done with a place. One that needs an image has the tag `latest`, or the only image of a folder or archive,
 * where none is named; one for an image has the tag `latest`; in others nothing is added. To write to an archive is to
 * replace its file.
 */
export interface Role {
  readonly needs: "image" | "name" | "nothing"
  readonly isWritten: boolean
}

/** An image is read. */
export const image: Role = { needs: "image", isWritten: false }
/** An image is written. */
export const destination: Role = { needs: "name", isWritten: true }
/** An image is read, and tagged. */
export const tagged: Role = { needs: "image", isWritten: true }
/** Whatever is named is read. */
export const anything: Role = { needs: "nothing", isWritten: false }
/** Whatever is named is written or removed. */
export const changed: Role = { needs: "nothing", isWritten: true }

/** An argument that makes sense. */
export interface Named {
  /** As it was written. */
  readonly input: string
  /** The registry and the repository, unless it is in a folder or an archive. */
  readonly registry?: { readonly host: Reference.Host; readonly repository: Reference.Repository }
  /** Works on what it names. What was written to an archive is in its file by the end. */
  readonly use: <A, E, R>(
    role: Role,
    work: (place: Location) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, Failed<E>, R | FileSystem.FileSystem | Path.Path>
}

/** How work on a place fails: of what goes wrong with the place it is told which one it was. */
type Failed<E> = E | LocationError.LocationError | CliError.ValidationError

type Part = Pick<Reference.RelativeReference, "tag" | "digest">

/** The same repository with another tag or digest, or with none. */
export const withPart = ({ end, ...place }: Location, part: Part): Location => ({
  ...place,
  end: end instanceof Reference.Reference
    ? new Reference.Reference({ registry: end.registry, repository: end.repository, ...part })
    : { registry: end.registry, repository: end.repository, ...part }
})

/** Works on several places at once. */
export const useAll = <A, E, R>(
  named: ReadonlyArray<Named>,
  role: Role,
  work: (places: ReadonlyArray<Location>) => Effect.Effect<A, E, R>
): Effect.Effect<A, Failed<E>, R | FileSystem.FileSystem | Path.Path> => {
  const from = (index: number, places: ReadonlyArray<Location>): ReturnType<typeof useAll<A, E, R>> => {
    const next = named[index]
    return next === undefined ? work(places) : next.use(role, (place) => from(index + 1, [...places, place]))
  }
  return from(0, [])
}

// ---------------------------------------------------------------------------------------------------------------------
// reading arguments
// ---------------------------------------------------------------------------------------------------------------------

const misuse = (input: string, problem: string) => invalid(`${JSON.stringify(input)}: ${problem}`)

/** Splits off a digest. */
const readDigest = Effect.fnUntraced(function*(input: string, rest: string) {
  const at = rest.search(/@sha(?:256|512):[^/\\@]*$/)
  if (at < 0) return { rest, part: {} }
  const digest = yield* Effect.mapError(
    Effect.fromResult(Digest.parse(rest.slice(at + 1))),
    ({ problem }) => misuse(input, problem)
  )
  return { rest: rest.slice(0, at), part: { digest } }
})

const readTag = (input: string, tag: string) =>
  Effect.mapError(
    Effect.fromResult(Result.map(Reference.parseRelative(`image:${tag}`), ({ tag }) => tag)),
    ({ problem }) =>
      misuse(input, `the tag behind the last colon: ${problem}; a path with a colon in its last part ends in a slash`)
  )

const readPath = Effect.fnUntraced(function*(input: string, prefix: string) {
  const { part, rest } = yield* readDigest(input, input.slice(prefix.length))
  const [, before = rest, tagText] = /^(.*):([^/\\]*)$/s.exec(rest) ?? []
  const tag = tagText === undefined ? undefined : yield* readTag(input, tagText)
  if (before === "") return yield* misuse(input, "the path is missing")
  const named: Part = { ...part, ...tag === undefined ? {} : { tag } }
  return { path: before, part: named }
})

const readDockerArchive = Effect.fnUntraced(function*(input: string, prefix: string) {
  const { part, rest } = yield* readDigest(input, input.slice(prefix.length))
  const [, path = rest, name] = /^((?:[a-zA-Z]:(?=[/\\]))?[^:]*):(.*)$/s.exec(rest) ?? []
  if (path === "") return yield* misuse(input, "the path is missing")
  if (name === undefined) return { path, part, name: undefined }
  const reference = yield* Effect.mapError(
    Effect.fromResult(Reference.parseRelative(name)),
    ({ message }) => misuse(input, message)
  )
  const { tag } = reference
  const named: Part = { ...part, ...tag === undefined ? {} : { tag } }
  return { path, part: named, name: reference }
})

// ---------------------------------------------------------------------------------------------------------------------
// places
// ---------------------------------------------------------------------------------------------------------------------

// a registry over HTTP does without all that is for files
const load = <A>(module: () => Promise<A>): Effect.Effect<A> => Effect.promise(module)
const layouts = load(() => import("../stores/LayoutRegistry.ts"))
const ociArchives = load(() => import("../stores/OciArchive.ts"))
const dockerArchives = load(() => import("../stores/DockerArchive.ts"))

const isRepository = Schema.is(Reference.Repository)
const anyRepository = Reference.Repository.make("image")
const latest = Reference.Tag.make("latest")

/** Registry and repository for a path, so that together they read as the path wherever its last part may be a name. */
const nameOf = ({ basename, dirname }: Path.Path, prefix: string, path: string) => {
  const last = basename(path)
  return isRepository(last)
    ? { name: prefix + dirname(path).replace(/[/\\]+$/, ""), repository: last }
    : { name: prefix + path, repository: anyRepository }
}

const formatOf = (path: string): Location["format"] => ({ digest, tag }) =>
  path + (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`)

const told = <P extends Part>(input: string, format: Location["format"], part: P) =>
  Effect.as(Output.note(`${input} is taken as ${format(part)}`), part)

/** The one image that there is. */
const soleImage = Effect.fnUntraced(
  function*(input: string, format: Location["format"], images: ReadonlyArray<Descriptor>) {
    const [image, ...others] = images
    if (image === undefined) return yield* misuse(input, "there is no image in it")
    if (others.length > 0) return yield* misuse(input, `there are ${images.length} images in it: name one by its tag`)
    return yield* told(input, format, { digest: image.digest })
  }
)

const isUnnamed = ({ digest, tag }: Part): boolean => digest === undefined && tag === undefined

/** A name without what Docker leaves out, to compare it with others. */
const canonical = ({ registry, repository, tag = latest }: Reference.RelativeReference): string => {
  const host: string = registry ?? "docker.io"
  return `${host}/${host === "docker.io" ? repository.replace(/^library\/(?=[^/]+$)/, "") : repository}:${tag}`
}

/** The image that has a full name. */
const imageCalled = Effect.fnUntraced(function*(
  registry: string,
  wanted: Reference.RelativeReference,
  named: ReadonlyArray<NamedManifest>
) {
  const found = named.filter(({ name }) =>
    Result.match(Reference.parseRelative(name), {
      onFailure: () => false,
      onSuccess: (reference) => canonical(reference) === canonical(wanted)
    })
  )
  const [first, ...others] = new Map(found.map((image) => [image.descriptor.digest, image])).values()
  const fail = (reason: RegistryError.Reason) =>
    new RegistryError.RegistryError({ operation: "resolveManifest", registry, reason })
  if (first === undefined) {
    return yield* fail(new RegistryError.ManifestUnknown({ detail: `no image is called ${canonical(wanted)}` }))
  }
  if (others.length === 0) return first.descriptor.digest
  const candidates = [first, ...others].map(({ descriptor, name }) => ({ digest: descriptor.digest, name }))
  return yield* fail(new RegistryError.AmbiguousTag({ tag: wanted.tag ?? latest, candidates }))
})

/** Splits a path at the full name of an image, if the path leads nowhere and what is before the name is a layout. */
const splitName = Effect.fnUntraced(function*(prefix: string, path: string, tag: Reference.Tag | undefined) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const exists = (path: string) => Effect.orElseSucceed(fs.exists(path), () => false)
  if (!path.includes(":") || (yield* exists(path))) return undefined
  for (let at = path.indexOf(":"); at >= 0; at = path.indexOf(":", at + 1)) {
    const before = path.slice(0, at)
    const name = Reference.parseRelative(path.slice(at + 1) + (tag === undefined ? "" : `:${tag}`))
    if (Result.isFailure(name) || before === "") continue
    if (yield* exists(prefix === "oci:" ? join(before, "index.json") : before)) {
      return { path: before, name: name.success }
    }
  }
  return undefined
})

const readLayout = Effect.fnUntraced(function*(input: string, prefix: "oci:" | "oci-archive:") {
  const whole = yield* readPath(input, prefix)
  const paths = yield* Path.Path
  /** What to do in the folder or file at a path; with the name of the image there, if the argument ends in one. */
  const workAt = <A, E, R>(
    path: string,
    part: Part,
    name: Reference.RelativeReference | undefined,
    role: Role,
    work: (place: Location) => Effect.Effect<A, E, R>
  ) => {
    const { name: registryName, repository } = nameOf(paths, prefix, path)
    const format = formatOf(prefix + path)
    const workIn = Effect.fnUntraced(function*(registry: LayoutRegistry) {
      const chosen = name !== undefined && part.digest === undefined
        ? yield* told(input, format, {
          digest: yield* imageCalled(registry.name, name, yield* registry.names(repository))
        })
        : role.needs === "image" && isUnnamed(part)
        ? yield* soleImage(input, format, yield* registry.roots(repository))
        : part
      return yield* work({ end: { registry, repository, ...chosen }, format })
    })
    if (prefix === "oci:") {
      return layouts.pipe(
        Effect.flatMap(({ make }) => make({ directory: path, form: "layout", name: registryName })),
        Effect.flatMap(workIn),
        LocationError.at(name === undefined ? format(part) : input)
      )
    }
    const options = { file: path, name: registryName }
    return ociArchives.pipe(
      Effect.flatMap(({ make, update }) =>
        role.isWritten ? update(options, workIn) : Effect.scoped(Effect.flatMap(make(options), workIn))
      ),
      LocationError.at(name === undefined ? format(part) : input)
    )
  }
  const named: Named = {
    input,
    use: Effect.fnUntraced(function*(role, work) {
      const split = yield* splitName(prefix, whole.path, whole.part.tag)
      if (split === undefined) return yield* workAt(whole.path, whole.part, undefined, role, work)
      if (role.needs !== "image") {
        return yield* misuse(input, "a full name selects an image to read; here, name it by its tag or digest")
      }
      const { digest } = whole.part
      return yield* workAt(split.path, digest === undefined ? {} : { digest }, split.name, role, work)
    })
  }
  return named
})

const readDocker = Effect.fnUntraced(function*(input: string, prefix: string) {
  const { name, part, path } = yield* readDockerArchive(input, prefix)
  const repository = name?.repository
  const format = formatOf(prefix + path + (repository === undefined ? "" : `:${repository}`))
  const choose = Effect.fnUntraced(function*({ needs }: Role, { images, name: registryName }: DockerArchive) {
    const named = images.flatMap(({ descriptor, names }) => names.map(({ name }) => ({ descriptor, name })))
    // only a host tells images apart whose names are otherwise the same
    if (needs === "image" && name?.registry !== undefined && part.digest === undefined) {
      return { digest: yield* imageCalled(registryName, name, named) }
    }
    if (needs !== "image" || !isUnnamed(part)) return part
    return repository === undefined
      ? yield* soleImage(input, format, images.map(({ descriptor }) => descriptor))
      : yield* told(input, format, { tag: latest })
  })
  const place = Effect.fnUntraced(function*(role: Role, archive: DockerArchive) {
    const { images, ...registry } = archive
    const [first] = images.flatMap(({ names }) => names)
    const chosen = yield* choose(role, archive)
    const end = { registry, repository: repository ?? first?.repository ?? anyRepository, ...chosen }
    const place: Location = { end, format }
    return place
  })
  const named: Named = {
    input,
    use: (role, work) =>
      role.isWritten
        ? Effect.fail(
          misuse(input, "what docker save writes can only be read; docker load takes an oci-archive too")
        )
        : dockerArchives.pipe(
          Effect.flatMap(({ make }) => make({ file: path })),
          Effect.flatMap((archive) => place(role, archive)),
          Effect.flatMap(work),
          Effect.scoped,
          LocationError.at(format(part))
        )
  }
  return named
})

const readRegistry = Effect.fnUntraced(function*(input: string) {
  const reference = yield* Effect.mapError(
    Effect.fromResult(readReference(input)),
    ({ message }) => invalid(message)
  )
  const { registry, repository } = reference
  const format: Location["format"] = (part) => Reference.format({ registry, repository, ...part })
  const named: Named = {
    input,
    registry: { host: registry, repository },
    use: Effect.fnUntraced(function*({ needs }, work) {
      const end = needs !== "nothing" && isUnnamed(reference)
        ? new Reference.Reference({ registry, repository, tag: latest })
        : reference
      if (String(end) !== input) yield* Output.note(`${input} is taken as ${end}`)
      return yield* LocationError.at(String(end))(work({ end, format }))
    })
  }
  return named
})

/** Reads an argument. What it names is looked at when it is used. */
export const read = (input: string): Effect.Effect<Named, CliError.ValidationError, Path.Path> => {
  if (input.startsWith("oci:")) return readLayout(input, "oci:")
  if (input.startsWith("oci-archive:")) return readLayout(input, "oci-archive:")
  if (input.startsWith("docker-archive:")) return readDocker(input, "docker-archive:")
  return readRegistry(input)
}
