/**
 * Parses arguments that name an image in a registry, in a folder or in an archive.
 *
 * - `host/repository[:tag][@digest]`
 * - `oci:DIR[:tag][@digest]`: an image layout in a folder
 * - `oci-archive:FILE[:tag][@digest]`: an image layout in a tar archive
 * - `oci:DIR:host/name[:tag]` and `oci-archive:FILE:host/name[:tag]`: an image in one of these by its full name, for
 *   reading only
 * - `docker-archive:FILE[:name[:tag]][@digest]`: an archive of `docker save`
 * - `oci-archive:-[:tag]` and `docker-archive:-[:name[:tag]]`: an archive on stdout, for writing only
 *
 * After a folder or file, the text after the last colon is a tag unless it contains a slash or backslash. The text
 * after the last `@` is a digest if it begins with `sha256:` or `sha512:`. For example, `oci:C:\images` and `oci:a:b/`
 * are folders, while `oci:a:b` is the tag `b` in the folder `a`. A full name requires that the layout or archive
 * exists, and that no folder or file has the whole text as its name. The file of a `docker-archive` ends at the first
 * colon, except for the colon of a drive.
 */
import type * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Stdio from "effect/Stdio"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as DockerHub from "../DockerHub.ts"
import type * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { DockerArchive } from "../stores/DockerArchive.ts"
import type { LayoutRegistry, NamedManifest } from "../stores/LayoutRegistry.ts"
import * as HostPlatform from "./HostPlatform.ts"
import * as LocationError from "./LocationError.ts"
import * as Messages from "./Messages.ts"
import { misuse as invalid, readReference } from "./ReferenceInput.ts"
import * as StandardOutput from "./StandardOutput.ts"

export interface Location {
  readonly end: Exclude<Namespace.End, string>
  /** Formats the reference of the place with another tag or digest. */
  readonly format: (part: Part) => string
}

/**
 * The use of a place. If neither a tag nor a digest is given, `image` selects the only image of a folder or archive,
 * and the tag `latest` elsewhere; `name` selects the tag `latest` in a registry; `nothing` adds nothing. Writing to an
 * archive replaces its file.
 */
export interface Role {
  readonly needs: "image" | "name" | "nothing"
  readonly isWritten: boolean
  /** Name that an image gets in an archive of `docker save` if the argument has none. */
  readonly suggested?: Reference.Reference | undefined
}

/** Reads an image. */
export const image: Role = { needs: "image", isWritten: false }
/** Writes an image. */
export const destination: Role = { needs: "name", isWritten: true }
/** Reads an image, and tags it. */
export const tagged: Role = { needs: "image", isWritten: true }
/** Reads the place as it is named. */
export const anything: Role = { needs: "nothing", isWritten: false }
/** Writes to the place as it is named, or deletes it. */
export const changed: Role = { needs: "nothing", isWritten: true }

/** A valid argument. */
export interface Named {
  /** The text of the argument. */
  readonly input: string
  /** The registry and the repository; absent for a folder or an archive. */
  readonly registry?: { readonly host: Reference.Host; readonly repository: Reference.Repository } | undefined
  /** True if it is an archive on stdout. */
  readonly isStdout?: boolean | undefined
  /** Opens the place, and runs `work` on it. An archive has been written when the effect ends. */
  readonly use: <A, E, R>(
    role: Role,
    work: (place: Location) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, Failed<E>, R | Services>
}

/** Services that places need. */
type Services = FileSystem.FileSystem | Path.Path | Stdio.Stdio

/** Errors of work on a place. Errors of the place itself have its reference. */
type Failed<E> = E | LocationError.LocationError | CliError.ValidationError

export interface Part {
  readonly tag?: Reference.Tag | undefined
  readonly digest?: Digest.Digest | undefined
}

const given = ({ digest, tag }: Part) => ({
  ...tag === undefined ? {} : { tag },
  ...digest === undefined ? {} : { digest }
})

/** Returns the place in the same repository with another tag or digest, or with none. */
export const withPart = ({ end, ...place }: Location, part: Part): Location => ({
  ...place,
  end: end instanceof Reference.Reference
    ? new Reference.Reference({ registry: end.registry, repository: end.repository, ...given(part) })
    : { registry: end.registry, repository: end.repository, ...part }
})

/** Opens several places, and runs `work` on all of them together. */
export const useAll = <A, E, R>(
  named: ReadonlyArray<Named>,
  role: Role,
  work: (places: ReadonlyArray<Location>) => Effect.Effect<A, E, R>
): Effect.Effect<A, Failed<E>, R | Services> => {
  const from = (index: number, places: ReadonlyArray<Location>): ReturnType<typeof useAll<A, E, R>> => {
    const next = named[index]
    return next === undefined ? work(places) : next.use(role, (place) => from(index + 1, [...places, place]))
  }
  return from(0, [])
}

// ---------------------------------------------------------------------------------------------------------------------
// parsing
// ---------------------------------------------------------------------------------------------------------------------

const misuse = (input: string, problem: string) => invalid(`${JSON.stringify(input)}: ${problem}`)

/** Splits the digest off the end of an argument. */
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
      misuse(input, `the tag after the last colon: ${problem}; add a slash to a path whose last part contains a colon`)
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

// loaded on demand, because a registry over HTTP does not need them
const load = <A>(module: () => Promise<A>): Effect.Effect<A> => Effect.promise(module)
const layouts = load(() => import("../stores/LayoutRegistry.ts"))
const ociArchives = load(() => import("../stores/OciArchive.ts"))
const dockerArchives = load(() => import("../stores/DockerArchive.ts"))

const isRepository = Schema.is(Reference.Repository)
const anyRepository = Reference.Repository.make("image")
const latest = Reference.Tag.make("latest")

/** Returns the registry and the repository for a path. Joined, they are the path, if its last part is a valid name. */
const nameOf = ({ basename, dirname }: Path.Path, prefix: string, path: string) => {
  const last = basename(path)
  return isRepository(last)
    ? { name: prefix + dirname(path).replace(/[/\\]+$/, ""), repository: last }
    : { name: prefix + path, repository: anyRepository }
}

const formatOf = (path: string): Location["format"] => ({ digest, tag }) =>
  path + (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`)

const announced = <P extends Part>(input: string, format: Location["format"], part: P) =>
  Effect.as(Messages.note(`${input} means ${format(part)}`), part)

/** Returns the only image. Fails if there are several or none. */
const soleImage = Effect.fnUntraced(
  function*(input: string, format: Location["format"], images: ReadonlyArray<Descriptor>) {
    const [image, ...others] = images
    if (image === undefined) return yield* misuse(input, "it contains no image")
    if (others.length > 0) return yield* misuse(input, `it contains ${images.length} images: name one by its tag`)
    return yield* announced(input, format, { digest: image.digest })
  }
)

const isUnnamed = ({ digest, tag }: Part): boolean => digest === undefined && tag === undefined

/** Returns the full name that a name of Docker stands for, for comparison. */
const canonical = ({ registry, repository, tag = latest }: Reference.RelativeReference): string => {
  const host: string = registry ?? DockerHub.host
  return `${host}/${host === DockerHub.host ? DockerHub.familiarName(repository) : repository}:${tag}`
}

/** Returns the digest of the image with a full name. Fails unless there is exactly one. */
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
    return yield* fail(new RegistryError.ManifestUnknown({ detail: `no image has the name ${canonical(wanted)}` }))
  }
  if (others.length === 0) return first.descriptor.digest
  const candidates = [first, ...others].map(({ descriptor, name }) => ({ digest: descriptor.digest, name }))
  return yield* fail(new RegistryError.AmbiguousTag({ tag: wanted.tag ?? latest, candidates }))
})

/** Splits a path before the full name of an image, if the whole path does not exist and the first part is a layout. */
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

const notReadable = (input: string) =>
  misuse(input, "an archive is not read from stdin, because it is read in any order: write it to a file first")

const readLayout = Effect.fnUntraced(function*(input: string, prefix: "oci:" | "oci-archive:") {
  const whole = yield* readPath(input, prefix)
  const paths = yield* Path.Path
  /** Runs `work` on the folder or file at a path. `name` is the full name that the argument ends in, if any. */
  const workAt = <A, E, R>(
    path: string,
    part: Part,
    name: Reference.RelativeReference | undefined,
    role: Role,
    work: (place: Location) => Effect.Effect<A, E, R>
  ) => {
    const { name: registryName, repository } = nameOf(paths, prefix, path)
    const format = formatOf(prefix + path)
    const workIn = Effect.fnUntraced(function*(registry: Omit<LayoutRegistry, "collect" | "contents" | "quarantine">) {
      const chosen = name !== undefined && part.digest === undefined
        ? yield* announced(input, format, {
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
    if (path === "-") {
      if (!role.isWritten) return Effect.fail(notReadable(input))
      const end = { repository: anyRepository, ...part }
      return Effect.all([ociArchives, StandardOutput.forArchive]).pipe(
        Effect.flatMap(([{ writeTo }, write]) =>
          writeTo({ write }, (registry) => work({ end: { registry, ...end }, format }))
        ),
        LocationError.at(input)
      )
    }
    return ociArchives.pipe(
      Effect.flatMap(({ make, update }) =>
        role.isWritten ? update(options, workIn) : Effect.scoped(Effect.flatMap(make(options), workIn))
      ),
      LocationError.at(name === undefined ? format(part) : input)
    )
  }
  const named: Named = {
    input,
    ...prefix === "oci-archive:" && whole.path === "-" ? { isStdout: true } : {},
    use: Effect.fnUntraced(function*(role, work) {
      const split = yield* splitName(prefix, whole.path, whole.part.tag)
      if (split === undefined) return yield* workAt(whole.path, whole.part, undefined, role, work)
      if (role.needs !== "image") {
        return yield* misuse(input, "a full name is for reading only: use a tag or a digest")
      }
      const { digest } = whole.part
      return yield* workAt(split.path, digest === undefined ? {} : { digest }, split.name, role, work)
    })
  }
  return named
})

const readDocker = Effect.fnUntraced(function*(input: string, prefix: string) {
  const { name, path, ...rest } = yield* readDockerArchive(input, prefix)
  const part: Part = rest.part
  const repository = name?.repository
  const format = formatOf(prefix + path + (repository === undefined ? "" : `:${repository}`))
  const choose = Effect.fnUntraced(function*({ needs }: Role, { images, name: registryName }: DockerArchive) {
    const named = images.flatMap(({ descriptor, names }) => names.map(({ name }) => ({ descriptor, name })))
    // a name with a host is compared as a whole, because images of several hosts may have the same name otherwise
    if (needs === "image" && name?.registry !== undefined && part.digest === undefined) {
      return { digest: yield* imageCalled(registryName, name, named) }
    }
    if (needs !== "image" || !isUnnamed(part)) return part
    return repository === undefined
      ? yield* soleImage(input, format, images.map(({ descriptor }) => descriptor))
      : yield* announced(input, format, { tag: latest })
  })
  const place = Effect.fnUntraced(function*(role: Role, archive: DockerArchive) {
    const { images, ...registry } = archive
    const [first] = images.flatMap(({ names }) => names)
    const chosen = yield* choose(role, archive)
    const end = { registry, repository: repository ?? first?.repository ?? anyRepository, ...chosen }
    const place: Location = { end, format }
    return place
  })
  /** Returns the name that an image gets, if any. */
  const nameFor = ({ needs, suggested }: Role): Reference.RelativeReference | undefined => {
    if (name === undefined) return suggested
    return needs === "nothing" || !isUnnamed(part) ? name : { ...name, tag: latest }
  }
  const write = Effect.fnUntraced(function*<A, E, R>(
    role: Role,
    work: (place: Location) => Effect.Effect<A, E, R>
  ) {
    const wanted = nameFor(role)
    if (role.needs === "image" && wanted === undefined && part.digest === undefined) {
      return yield* misuse(input, "name the image, such as docker-archive:FILE:team/app:1")
    }
    const tag = role.needs === "nothing" ? part.tag : wanted?.tag
    const shown = wanted === undefined
      ? ""
      : `${wanted.registry === undefined ? "" : `${wanted.registry}/`}${wanted.repository}`
    const formatted = formatOf(prefix + path + (shown === "" ? "" : `:${shown}`))
    const chosen: Part = { ...part, ...tag === undefined ? {} : { tag } }
    if (formatted(chosen) !== input) yield* Messages.note(`${input} means ${formatted(chosen)}`)
    const use = (registry: Registry) =>
      work({ end: { registry, repository: wanted?.repository ?? anyRepository, ...chosen }, format: formatted })
    const options = { platform: HostPlatform.platform, host: wanted?.registry }
    const archives = yield* dockerArchives
    return yield* (path === "-"
      ? archives.writeTo({ ...options, write: yield* StandardOutput.forArchive }, use)
      : archives.update({ ...options, file: path }, use)).pipe(LocationError.at(formatted(chosen)))
  })
  const named: Named = {
    input,
    ...path === "-" ? { isStdout: true } : {},
    use: (role, work) => {
      if (role.isWritten) return write(role, work)
      if (path === "-") return Effect.fail(notReadable(input))
      return dockerArchives.pipe(
        Effect.flatMap(({ make }) => make({ file: path })),
        Effect.flatMap((archive) => place(role, archive)),
        Effect.flatMap(work),
        Effect.scoped,
        LocationError.at(format(part))
      )
    }
  }
  return named
})

const readRegistry = Effect.fnUntraced(function*(input: string) {
  const reference = yield* Effect.mapError(
    Effect.fromResult(readReference(input)),
    ({ message }) => invalid(message)
  )
  const { registry, repository } = reference
  const format: Location["format"] = (part) => Reference.format({ registry, repository, ...given(part) })
  const named: Named = {
    input,
    registry: { host: registry, repository },
    use: Effect.fnUntraced(function*({ needs }, work) {
      const end = needs !== "nothing" && isUnnamed(reference)
        ? new Reference.Reference({ registry, repository, tag: latest })
        : reference
      if (String(end) !== input) yield* Messages.note(`${input} means ${end}`)
      return yield* LocationError.at(String(end))(work({ end, format }))
    })
  }
  return named
})

/** Parses an argument. The place itself is opened later, by `use`. */
export const read = (input: string): Effect.Effect<Named, CliError.ValidationError, Path.Path> => {
  if (input.startsWith("oci:")) return readLayout(input, "oci:")
  if (input.startsWith("oci-archive:")) return readLayout(input, "oci-archive:")
  if (input.startsWith("docker-archive:")) return readDocker(input, "docker-archive:")
  return readRegistry(input)
}
