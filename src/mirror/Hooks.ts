/**
 * Effects of a program that run before and after the steps of a mirror.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import type { Host, Repository, Tag } from "../Reference.ts"
import { printable } from "../Text.ts"
import type { RunState } from "./MirrorState.ts"

/**
 * A hook has refused a run, a copy, or the creation of a repository.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Schema.TaggedError<Refused>("effect-oci/Mirror/Refused")("Refused", {
  reason: Schema.String
}) {
  override get message(): string {
    return printable(`refused: ${this.reason}`)
  }
}

/**
 * Copy of a tag to one or several destinations.
 *
 * @category models
 * @since 0.1.0
 */
export interface HookCopy {
  readonly rule: string
  /** Repository of the source, with its registry. */
  readonly source: string
  readonly sourceTag: Tag
  readonly digest: Digest
  /** Repositories of the destinations, with their registries and tags. */
  readonly destinations: ReadonlyArray<string>
}

/**
 * Effects that run before and after the steps of a mirror.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hooks {
  /** Runs before a rule. If it refuses, the rule does not run. */
  readonly beforeRun: (rule: string) => Effect.Effect<void, Refused>
  /** Runs before the copy of a tag. If it refuses, the tag is not copied, and counts as failed. */
  readonly beforeCopy: (copy: HookCopy) => Effect.Effect<void, Refused>
  readonly afterCopy: (copy: HookCopy) => Effect.Effect<void>
  /** Runs before the first copy to a repository that the destination does not have, for example to create it. */
  readonly onRepositoryMissing: (registry: Host, repository: Repository) => Effect.Effect<void, Refused>
  /** Runs after a tag has failed. `destination` is a repository with its registry. */
  readonly onFailure: (
    failure: { readonly rule: string; readonly destination: string; readonly tag: Tag; readonly error: string }
  ) => Effect.Effect<void>
  /** Runs after a rule, with its recorded run. */
  readonly afterRun: (run: RunState) => Effect.Effect<void>
}

/**
 * The hooks that do nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noHooks: Hooks = {
  beforeRun: () => Effect.void,
  beforeCopy: () => Effect.void,
  afterCopy: () => Effect.void,
  onRepositoryMissing: () => Effect.void,
  onFailure: () => Effect.void,
  afterRun: () => Effect.void
}

/**
 * Hooks of the runs of a mirror.
 *
 * @default {@link noHooks}
 * @category references
 * @since 0.1.0
 */
export const Hooks: Context.Reference<Hooks> = Context.Reference<Hooks>("effect-oci/Mirror/Hooks", {
  defaultValue: () => noHooks
})
