/**
 * One promise of the contract, and the features that a registry needs to keep it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Registry } from "../../Registry.ts"
import { isRegistryError } from "../../RegistryError.ts"
import { isMismatch } from "./Expect.ts"

/**
 * Feature that a promise needs and some registries lack. A view may restrict its registry, and some registries in use
 * do less than the specification demands.
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
  /** Blobs can be pushed through upload sessions. */
  | "sessions"
  /** Upload sessions accept chunks of any size. */
  | "chunks"
  /** A blob of one repository can be mounted in another. */
  | "mount"
  /** Blobs and manifests can be deleted. */
  | "delete"
  /** A tag can be deleted without its manifest. */
  | "tagDelete"
  /** A tag can be moved to another manifest. */
  | "retag"
  /** Repositories are separate and listed. A single image layout has one repository for all names. */
  | "repositories"
  /** Errors name the registry itself instead of one that it is made of. */
  | "ownErrors"
  /** Blobs can have sha512 digests. */
  | "sha512"
  /** Manifests can have sha512 digests. */
  | "sha512Manifests"
  /** A tag can point to a manifest that was pushed under its sha512 digest. */
  | "sha512Tags"
  /** A chunk is refused unless it begins at the end of the last one. */
  | "offsets"
  /** The received bytes of an incomplete chunk are kept. */
  | "partialChunks"
  /** The digest of a blob is unknown as that of a manifest. */
  | "kinds"
  /** A manifest may refer to non-distributable layers that are absent. */
  | "nonDistributable"
  /** A manifest may have an unknown media type. */
  | "mediaTypes"
  /** A manifest is refused if it has a wrong size of content that exists. */
  | "sizes"
  /** Tags are listed in order. */
  | "tagOrder"
  /** The list of tags can begin after a given one. */
  | "tagsAfter"

/**
 * A promise that was not kept.
 *
 * @category errors
 * @since 0.1.0
 */
export class Violation extends Schema.TaggedError<Violation>("effect-oci/testing/Violation")("Violation", {
  /** Name of the case. */
  promise: Schema.String,
  expected: Schema.String,
  found: Schema.String,
  /** Error that was found, if the failure was one. */
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.promise}: expected ${this.expected}, found ${this.found}`
  }
}

/**
 * One promise, with an effect that verifies it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** Promise as a sentence. */
  readonly name: string
  readonly needs: ReadonlyArray<Need>
  /**
   * Fails if the registry does not keep the promise. The effect uses its own repositories. It writes existing content
   * through `origin`, because some registries are read-only or are filled from another one. Default: the same registry.
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

/** Creates a case from a check that fails with a mismatch or an unexpected error. */
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
