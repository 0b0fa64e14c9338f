/**
 * A registry made of registries below prefixes: with the prefix `hub`, the repository `hub/library/alpine` is
 * `library/alpine` of the registry of that prefix.
 *
 * The longest prefix that fits decides. A repository below no prefix is in the registry `rest`, if there is one, and
 * is unknown otherwise. The repositories of `rest` that a prefix hides cannot be reached or listed.
 *
 * Errors name the repository as the caller does. A blob can be mounted from a repository of the same registry. Other
 * mounts become upload sessions.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import {
  Denied,
  failing,
  isRegistryError,
  NameInvalid,
  NameUnknown,
  type RegistryError,
  Unsupported
} from "../RegistryError.ts"
import type { Upload } from "../Upload.ts"
import * as Merge from "./Merge.ts"

/**
 * The registries, and their prefixes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Name of the combined registry in errors. Default: the names of the registries, joined by `+`. */
  readonly name?: string | undefined
  /** Registries by their prefix, which is a repository name. */
  readonly registries: Readonly<Record<string, Registry.Registry>>
  /** Registry of all repositories that are below no prefix. Default: there are none. */
  readonly rest?: Registry.Registry | undefined
}

/** A registry, and the repository in it that a name stands for. */
interface Found {
  readonly prefix: string
  readonly registry: Registry.Registry
  readonly repository: Repository
}

const longestName = 255

/** Reasons with which registries answer that have no list of repositories, or none for these credentials. */
const unlisted: ReadonlySet<string> = new Set(["Unsupported", "Unauthorized", "Denied"])

/** Returns the options for the list of a registry after a name, or `undefined` if all of its names precede that. */
const optionsAfter = (
  prefix: string,
  after: string | undefined
): { readonly after?: string | undefined } | undefined => {
  if (after === undefined) return {}
  if (prefix === "") return { after }
  if (after < `${prefix}/`) return {}
  return after.startsWith(`${prefix}/`) ? { after: after.slice(prefix.length + 1) } : undefined
}

/**
 * Creates a registry from registries and their prefixes.
 *
 * **Example** (Two registries below one)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as PrefixRegistry from "effect-oci/PrefixRegistry"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const hub = yield* MemoryRegistry.make({ name: "docker.io" })
 *   const own = yield* MemoryRegistry.make({ name: "registry.example.com" })
 *   yield* Images.pushImage(hub, Images.repository("library/alpine"), ["a layer"], { tags: [Images.tag("3")] })
 *   yield* Images.pushImage(own, Images.repository("app"), ["a layer"], { tags: [Images.tag("1")] })
 *   const both = PrefixRegistry.make({ registries: { hub }, rest: own })
 *   return yield* Stream.runCollect(both.repositories())
 * })
 *
 * Effect.runSync(program) // => ["app", "hub/library/alpine"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ name, registries, rest }: Options): Registry.Registry => {
  const prefixes = Object.entries(registries)
    .map(([prefix, registry]) => ({ prefix, registry }))
    .sort((one, other) => other.prefix.length - one.prefix.length)
  const everyOne = rest === undefined ? prefixes : [...prefixes, { prefix: "", registry: rest }]
  const title = name ?? everyOne.map(({ registry }) => registry.name).join("+")
  const failed = failing(title)

  const find = (repository: Repository): Found | undefined => {
    const found = everyOne.find(({ prefix }) => prefix === "" || repository.startsWith(`${prefix}/`))
    if (found === undefined) return undefined
    const { prefix, registry } = found
    // as: what follows a prefix and a slash in a repository name is a repository name
    const inner = prefix === "" ? repository : repository.slice(prefix.length + 1) as Repository
    return { prefix, registry, repository: inner }
  }

  const unknown = (operation: string, repository: Repository, access: "read" | "write") =>
    failed(operation, repository)(
      access === "read"
        ? new NameUnknown({})
        : new Denied({ detail: `names begin with ${prefixes.map(({ prefix }) => `${prefix}/`).join(" or ")}` })
    )

  /** Converts an error of a registry to one of this view. Errors of others, such as of a source, stay unchanged. */
  const translate = (name: Repository, { registry }: Found) => <E>(error: E): E | RegistryError =>
    isRegistryError(error) && error.registry === registry.name ? failed(error.operation, name)(error.reason) : error

  const effect = <A, E, R>(
    operation: string,
    repository: Repository,
    access: "read" | "write",
    run: (found: Found) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | RegistryError, R> =>
    Effect.suspend((): Effect.Effect<A, E | RegistryError, R> => {
      const found = find(repository)
      if (found !== undefined) return Effect.mapError(run(found), translate(repository, found))
      return repository.length > longestName
        ? Effect.fail(failed(operation, repository)(new NameInvalid({})))
        : Effect.fail(unknown(operation, repository, access))
    })

  const stream = <A>(
    operation: string,
    repository: Repository,
    run: (found: Found) => Stream.Stream<A, RegistryError>
  ): Stream.Stream<A, RegistryError> =>
    Stream.suspend(() => {
      const found = find(repository)
      return found === undefined
        ? Stream.fail(unknown(operation, repository, "read"))
        : Stream.mapError(run(found), translate(repository, found))
    })

  const upload = (name: Repository, found: Found) => (self: Upload): Upload => ({
    ...self,
    status: Effect.mapError(self.status, translate(name, found)),
    append: (chunk) => Effect.mapError(self.append(chunk), translate(name, found)),
    commit: (digest, last) => Effect.mapError(self.commit(digest, last), translate(name, found))
  })

  /** Lists the repositories of one registry. One that does not list them to its clients has none. */
  const listed = (prefix: string, registry: Registry.Registry, after: string | undefined) => {
    const options = optionsAfter(prefix, after)
    return options === undefined ? Stream.empty : registry.repositories(options).pipe(
      // as: two repository names joined by a slash are a repository name
      Stream.map((repository) => (prefix === "" ? repository : `${prefix}/${repository}`) as Repository),
      Stream.filter((repository) => find(repository)?.registry === registry),
      Stream.catchIf(({ reason }) => unlisted.has(reason._tag), () => Stream.empty)
    )
  }

  return Registry.make({
    name: title,
    capabilities: Effect.succeed({ anonymousMount: false }),
    // one registry that answers is enough to serve some content
    ping: Arr.match(everyOne, {
      onEmpty: () => Effect.fail(failed("ping")(new Unsupported({ detail: "there are no registries" }))),
      onNonEmpty: (all) => Effect.firstSuccessOf(all.map(({ registry }) => registry.ping))
    }),
    getBlob: (name, digest, options) =>
      effect("getBlob", name, "read", (found) =>
        Effect.map(
          found.registry.getBlob(found.repository, digest, options),
          (blob) => ({ ...blob, stream: Stream.mapError(blob.stream, translate(name, found)) })
        )),
    resolveBlob: (name, digest, options) =>
      effect(
        "resolveBlob",
        name,
        "read",
        ({ registry, repository }) => registry.resolveBlob(repository, digest, options)
      ),
    getManifest: (name, reference) =>
      effect("getManifest", name, "read", ({ registry, repository }) => registry.getManifest(repository, reference)),
    resolveManifest: (name, reference) =>
      effect(
        "resolveManifest",
        name,
        "read",
        ({ registry, repository }) => registry.resolveManifest(repository, reference)
      ),
    pushBlob: (name, descriptor, source) =>
      effect(
        "pushBlob",
        name,
        "write",
        ({ registry, repository }) => registry.pushBlob(repository, descriptor, source)
      ),
    startUpload: (name, options) =>
      effect("startUpload", name, "write", (found) => {
        const { mount, ...others } = options ?? {}
        const from = mount?.from === undefined ? undefined : find(mount.from)
        const isWithin = mount !== undefined && from?.prefix === found.prefix
        return Effect.map(
          found.registry.startUpload(
            found.repository,
            isWithin ? { ...others, mount: { digest: mount.digest, from: from.repository } } : others
          ),
          (started) => started._tag === "Upload" ? upload(name, found)(started) : started
        )
      }),
    resumeUpload: (name, id) =>
      effect(
        "resumeUpload",
        name,
        "write",
        (found) => Effect.map(found.registry.resumeUpload(found.repository, id), upload(name, found))
      ),
    pushManifest: (name, manifest, tags) =>
      effect(
        "pushManifest",
        name,
        "write",
        ({ registry, repository }) => registry.pushManifest(repository, manifest, tags)
      ),
    deleteBlob: (name, digest) =>
      effect("deleteBlob", name, "read", ({ registry, repository }) => registry.deleteBlob(repository, digest)),
    deleteManifest: (name, digest) =>
      effect("deleteManifest", name, "read", ({ registry, repository }) => registry.deleteManifest(repository, digest)),
    deleteTag: (name, tag) =>
      effect("deleteTag", name, "read", ({ registry, repository }) => registry.deleteTag(repository, tag)),
    repositories: (options) =>
      Merge.inOrder(
        everyOne.map(({ prefix, registry }) => listed(prefix, registry, options?.after)),
        "concurrent"
      ),
    tags: (name, options) => stream("tags", name, ({ registry, repository }) => registry.tags(repository, options)),
    referrers: (name, digest, options) =>
      Stream.suspend(() => {
        const found = find(name)
        return found === undefined ? Stream.empty : Stream.mapError(
          found.registry.referrers(found.repository, digest, options),
          translate(name, found)
        )
      })
  })
}
