/**
 * Content of the other side of an air gap, according to earlier bundles and inventories.
 */
import type { Digest } from "../Digest.ts"
import type { BundleContent, BundleContents } from "./BundleContents.ts"

/** A blob or manifest that some repositories of the other side have. */
export interface KnownContent {
  readonly digest: Digest
  readonly size: number
  readonly mediaType?: string | undefined
}

/** Content and tags of one repository. */
interface KnownRepository {
  readonly content: Set<Digest>
  readonly tags: Map<string, Digest>
}

/** Content of the other side. */
export interface BundleKnown {
  readonly base: Array<BundleContents["base"][number]>
  readonly content: Map<Digest, KnownContent>
  /** Everything below a manifest that a tag pointed at, or below a referrer. */
  readonly images: Map<Digest, ReadonlyArray<Digest>>
  /** Repositories by their name with the registry. */
  readonly repositories: Map<string, KnownRepository>
  /** Digests of all repositories of a registry, by its host. */
  readonly hosts: Map<string, Set<Digest>>
}

export const make = (): BundleKnown => ({
  base: [],
  content: new Map(),
  images: new Map(),
  repositories: new Map(),
  hosts: new Map()
})

/** Returns the host in the name of a repository. */
const hostOf = (repository: string): string => repository.slice(0, Math.max(0, repository.indexOf("/")))

const orInsert = <K, V>(map: Map<K, V>, key: K, create: () => V): V => {
  const found = map.get(key) ?? create()
  map.set(key, found)
  return found
}

export const repositoryOf = ({ repositories }: BundleKnown, name: string): KnownRepository =>
  orInsert(repositories, name, () => ({ content: new Set(), tags: new Map() }))

/** Adds content that a repository has. */
export const addContent = (known: BundleKnown, repository: string, content: KnownContent) => {
  if (!known.content.has(content.digest)) known.content.set(content.digest, content)
  repositoryOf(known, repository).content.add(content.digest)
  orInsert(known.hosts, hostOf(repository), () => new Set<Digest>()).add(content.digest)
}

/** Adds what the destination has after the import of a bundle. Later bundles come after earlier ones. */
export const addBundle = (known: BundleKnown, { at, content, id, images, repositories }: BundleContents) => {
  known.base.push({ kind: "bundle", id, at })
  const entry = (position: number): ReadonlyArray<BundleContent> => content.slice(position, position + 1)
  const below = new Map(images.map((image) => [image.manifest, image.content]))
  for (const { content, manifest } of [...images, ...repositories.flatMap(({ referrers }) => referrers)]) {
    for (const { digest } of entry(manifest)) {
      known.images.set(digest, content.flatMap((position) => entry(position).map(({ digest }) => digest)))
    }
  }
  for (const { assumed, name, referrers, tags } of repositories) {
    const { tags: knownTags } = repositoryOf(known, name)
    const positions = [
      ...assumed,
      ...referrers.flatMap(({ content, manifest }) => [manifest, ...content]),
      ...tags.flatMap(({ manifest }) => [manifest, ...below.get(manifest) ?? []])
    ]
    for (const position of new Set(positions)) {
      for (const { digest, mediaType, size } of entry(position)) addContent(known, name, { digest, size, mediaType })
    }
    for (const { manifest, tag } of tags) {
      for (const { digest } of entry(manifest)) knownTags.set(tag, digest)
    }
  }
}

/** Returns a test for content that all of some registries have. */
export const onAll = (
  known: BundleKnown,
  hosts: ReadonlySet<string>
): (digest: Digest) => KnownContent | undefined => {
  const sets = Array.from(hosts, (host) => known.hosts.get(host))
  return (digest) => sets.every((digests) => digests?.has(digest) === true) ? known.content.get(digest) : undefined
}

/** Returns a repository of a registry that has content: this one if possible. */
export const holderOf = (known: BundleKnown, repository: string, digest: Digest): string | undefined => {
  if (known.repositories.get(repository)?.content.has(digest) === true) return repository
  const prefix = `${hostOf(repository)}/`
  for (const [name, { content }] of known.repositories) {
    if (name.startsWith(prefix) && content.has(digest)) return name
  }
  return undefined
}
