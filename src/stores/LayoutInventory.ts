/**
 * The list of all blobs and manifests in layouts.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type { Repository } from "../Reference.ts"
import type { Reason, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import type { LayoutFolder } from "./LayoutFolder.ts"
import * as LayoutQuarantine from "./LayoutQuarantine.ts"

/**
 * A blob or manifest of a repository.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content {
  readonly repository: Repository
  readonly digest: Digest
  /** Size in bytes. */
  readonly size: number
  /** Time of the last write to its file or of its last mention, in milliseconds since 1970. */
  readonly time: number
}

/** Number of files that are examined at the same time. */
const filesAtATime = 16

const inOne = (files: Files, repository: Repository, layout: LayoutFolder): Stream.Stream<Content, Storage> =>
  Stream.flatMap(Stream.fromEffect(layout.digests), Stream.fromIterable).pipe(
    Stream.mapEffect(
      (digest) =>
        Effect.map(files.stat(layout.blobPath(digest)), (info): ReadonlyArray<Content> =>
          info?.type === "File"
            ? [{ repository, digest, size: ByteSize.toNumberUnsafe(info.size), time: LayoutQuarantine.timeOf(info) }]
            : []),
      { concurrency: filesAtATime }
    ),
    Stream.flatMap(Stream.fromIterable)
  )

/** Lists the content of repositories. One that is removed meanwhile has none. */
export const list = (
  files: Files,
  repositories: Stream.Stream<Repository, Reason>,
  find: (repository: Repository) => Effect.Effect<LayoutFolder, Reason>
): Stream.Stream<Content, Reason> =>
  Stream.flatMap(
    repositories,
    (repository) =>
      Stream.unwrap(Effect.map(find(repository), (layout) => inOne(files, repository, layout))).pipe(
        Stream.catchTag("NameUnknown", () => Stream.empty)
      )
  )
