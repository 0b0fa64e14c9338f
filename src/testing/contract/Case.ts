/**
 * One promise of the contract, and what may keep a registry from making it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Registry } from "../../Registry.ts"
import { isRegistryError } from "../../RegistryError.ts"
import { isMismatch } from "./Expect.ts"

/**
 * What a promise takes that not every registry has: because it restricts what can be done, as views do, or because it
 * does less than the specification wants, as some registries in use are known to.
 *
 * @category models
 * @since 0.1.0
 */
export type Need =
  /** The registry answers a ping. */
  | "ping"
  /** Tags are listed. */
  | "tags"
  /** Referrers are listed. */
  | "referrers"
  /** Blobs and manifests can be written. */
  | "push"
  /** There are upload sessions. */
  | "sessions"
  /** Upload sessions take chunks, of any size. */
  | "chunks"
  /** A blob of one repository can be mounted in another. */
  | "mount"
  /** Blobs and manifests can be deleted. */
  | "delete"
  /** A tag can be deleted without its manifest. */
  | "tagDelete"
  /** A tag can be moved to another manifest. */
  | "retag"
  /** Repositories are apart, and are listed. A single image layout has one for all names. */
  | "repositories"
  /** Errors name the registry itself, not one that it is made of. */
  | "ownErrors"
  /** Blobs have digests of sha512. */
  | "sha512"
  /** Manifests have digests of sha512. */
  | "sha512Manifests"
  /** A tag can point at a manifest by its digest of sha512. */
  | "sha512Tags"
  /** A chunk that does not begin where the last one ended is refused. */
  | "offsets"
  /** What came of a chunk that broke off, or was interrupted, is kept. */
  | "partialChunks"
  /** A digest of a blob is not taken for one of a manifest. */
  | "kinds"
  /** A manifest may refer to layers that may not be distributed, and are not there. */
  | "nonDistributable"
  /** A manifest may be of a type that nobody knows. */
  | "mediaTypes"
  /** A manifest may not say another size of content than it has. */
  | "sizes"
  /** Tags are listed in order. */
  | "tagOrder"
  /** The list of tags can begin behind one. */
  | "tagsAfter"

/**
 * A promise that was not kept.
 *
 * @category errors
 * @since 0.1.0
 */
export class Violation extends Schema.TaggedError<Violation>("effect-oci/testing/Violation")("Violation", {
  /** The name of the case. */
  promise: Schema.String,
  expected: Schema.String,
  found: Schema.String,
  /** The error that was found, if it is one. */
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.promise}: expected ${this.expected}, found ${this.found}`
  }
}

/**
 * One promise, and how to see whether it is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** What is promised, as a sentence. */
  readonly name: string
  readonly needs: ReadonlyArray<Need>
  /**
   * Fails where the promise is not kept. It works in repositories of its own. What is to be there beforehand is written
   * through `origin`, for registries that cannot be written to, or that are to be filled from elsewhere: the same
   * registry unless given.
   */
  readonly effect: (registry: Registry, origin?: Registry) => Effect.Effect<void, Violation>
}

const violationOf = (promise: string) => (error: unknown): Violation =>
  isMismatch(error)
    ? new Violation({ promise, expected: error.expected, found: error.found })
    : new Violation({
      promise,
      expected: "no error",
      found: isRegistryError(error) ? error.message : String(error),
      cause: error
    })

/** Makes a case of what fails with a mismatch, or an error that nobody expects. */
export const promise = (
  name: string,
  needs: ReadonlyArray<Need>,
  check: (
    registry: Registry,
    origin: Registry
  ) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>
): Case => {
  const checked = Effect.fnUntraced(check)
  return {
    name,
    needs,
    effect: (registry, origin = registry) =>
      Effect.mapError(Effect.scoped(checked(registry, origin)), violationOf(name))
  }
}
