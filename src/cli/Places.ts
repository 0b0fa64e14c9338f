/**
 * What an argument names: an image in a registry, in a folder or in an archive.
 *
 * - `host/repository[:tag][@digest]`
 * - `oci:DIR[:tag][@digest]`: an image layout in a folder
 * - `oci-archive:FILE[:tag][@digest]`: one in a tar archive
 * - `docker-archive:FILE[:name[:tag]][@digest]`: what `docker save` wrote, to read
 *
 * Of a folder or file, what follows the last colon is a tag unless there is a slash or backslash in it, and what follows
 * the last `@` a digest if it begins with `sha256:` or `sha512:`. So `oci:C:\images` is a folder, and so is `oci:a:b/`,
 * while `oci:a:b` is the tag `b` in the folder `a`. The file of a `docker-archive` ends at the first colon that is not
 * that of a drive.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as DockerArchive from "../stores/DockerArchive.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as OciArchive from "../stores/OciArchive.ts"
import { Misuse, readReference } from "./Names.ts"

export interface Place {
  readonly end: Exclude<Namespace.End, string>
  /** What it is called under another tag or digest. */
  readonly format: (part: Part) => string
}

/** An argument that makes sense. */
export interface Argument {
  /** Works on what it names. What was written to an archive is in its file by the end. */
  readonly use: <A, E, R>(
    work: (place: Place) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | Misuse | RegistryError, R | FileSystem.FileSystem | Path.Path>
}

/** What is to be done with a place: read the image there, look at whatever is there, or write to it. */
export type Role = "image" | "repository" | "destination"

type Part = Pick<Reference.RelativeReference, "tag" | "digest">

// ---------------------------------------------------------------------------------------------------------------------
// reading arguments
// ---------------------------------------------------------------------------------------------------------------------

const misuse = (input: string, problem: string) => new Misuse({ message: `${JSON.stringify(input)}: ${problem}` })

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
  if (name === undefined) return { path, part, repository: undefined }
  const { repository, tag } = yield* Effect.mapError(
    Effect.fromResult(Reference.parseRelative(name)),
    ({ message }) => misuse(input, message)
  )
  const named: Part = { ...part, ...tag === undefined ? {} : { tag } }
  return { path, part: named, repository }
})

// ---------------------------------------------------------------------------------------------------------------------
// places
// ---------------------------------------------------------------------------------------------------------------------

const isRepository = Schema.is(Reference.Repository)
const anyRepository = Reference.Repository.make("image")

/** Registry and repository for a path, so that together they read as the path wherever its last part may be a name. */
const nameOf = ({ basename, dirname }: Path.Path, prefix: string, path: string) => {
  const last = basename(path)
  return isRepository(last)
    ? { name: prefix + dirname(path).replace(/[/\\]+$/, ""), repository: last }
    : { name: prefix + path, repository: anyRepository }
}

const formatOf = (path: string): Place["format"] => ({ digest, tag }) =>
  path + (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`)

const told = <P extends Part>(input: string, format: Place["format"], part: P) =>
  Effect.as(Console.error(`${input} is taken as ${format(part)}`), part)

/** The one image that there is. */
const soleImage = Effect.fnUntraced(
  function*(input: string, format: Place["format"], images: ReadonlyArray<Descriptor>) {
    const [image, ...others] = images
    if (image === undefined) return yield* misuse(input, "there is no image in it")
    if (others.length > 0) return yield* misuse(input, `there are ${images.length} images in it: name one by its tag`)
    return yield* told(input, format, { digest: image.digest })
  }
)

const needsImage = (role: Role, { digest, tag }: Part): boolean =>
  role === "image" && digest === undefined && tag === undefined

const layoutArgument = Effect.fnUntraced(function*(input: string, prefix: "oci:" | "oci-archive:", role: Role) {
  const { part, path } = yield* readPath(input, prefix)
  const { name, repository } = nameOf(yield* Path.Path, prefix, path)
  const format = formatOf(prefix + path)
  const place = (registry: LayoutRegistry.LayoutRegistry) =>
    Effect.gen(function*() {
      const whole = needsImage(role, part) ? yield* soleImage(input, format, yield* registry.roots(repository)) : part
      return { end: { registry, repository, ...whole }, format }
    })
  const argument: Argument = {
    use: (work) => {
      const workIn = (registry: LayoutRegistry.LayoutRegistry) => Effect.flatMap(place(registry), work)
      if (prefix === "oci:") {
        return Effect.flatMap(LayoutRegistry.make({ directory: path, form: "layout", name }), workIn)
      }
      return role === "destination"
        ? OciArchive.update({ file: path, name }, workIn)
        : Effect.scoped(Effect.flatMap(OciArchive.make({ file: path, name }), workIn))
    }
  }
  return argument
})

const dockerArgument = Effect.fnUntraced(function*(input: string, prefix: string, role: Role) {
  const { part, path, repository } = yield* readDockerArchive(input, prefix)
  if (role === "destination") {
    return yield* misuse(input, "what docker save writes can only be read; docker load takes an oci-archive too")
  }
  const format = formatOf(prefix + path + (repository === undefined ? "" : `:${repository}`))
  const place = ({ images, ...registry }: DockerArchive.DockerArchive) =>
    Effect.gen(function*() {
      const [first] = images.flatMap(({ names }) => names)
      const whole = !needsImage(role, part)
        ? part
        : repository === undefined
        ? yield* soleImage(input, format, images.map(({ descriptor }) => descriptor))
        : yield* told(input, format, { tag: Reference.Tag.make("latest") })
      return { end: { registry, repository: repository ?? first?.repository ?? anyRepository, ...whole }, format }
    })
  const argument: Argument = {
    use: (work) =>
      Effect.scoped(Effect.flatMap(
        DockerArchive.make({ file: path }),
        (registry) => Effect.flatMap(place(registry), work)
      ))
  }
  return argument
})

const referenceArgument = Effect.fnUntraced(function*(input: string) {
  const reference = yield* readReference(input)
  const { registry, repository } = reference
  const format: Place["format"] = (part) => Reference.format({ registry, repository, ...part })
  const argument: Argument = { use: (work) => work({ end: reference, format }) }
  return argument
})

/** Reads an argument. What it names is looked at when it is used. */
export const readPlace = (input: string, role: Role): Effect.Effect<Argument, Misuse, Path.Path> => {
  if (input.startsWith("oci:")) return layoutArgument(input, "oci:", role)
  if (input.startsWith("oci-archive:")) return layoutArgument(input, "oci-archive:", role)
  if (input.startsWith("docker-archive:")) return dockerArgument(input, "docker-archive:", role)
  return referenceArgument(input)
}
