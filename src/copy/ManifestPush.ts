/**
 * Pushes a manifest to a repository. Copies that share what they know of a registry push a manifest one at a time, skip
 * a push that another copy has made unnecessary, and push tags of several copies together.
 *
 * CNCF distribution 2.8 writes its links to a manifest again with each push. Until it has done so, it refuses another
 * push of that manifest, or of an index that lists it, with `DIGEST_INVALID`. So a push also waits for pushes of the
 * children.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Digest } from "../Digest.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as RegistryState from "./RegistryState.ts"

/** A manifest, the repository that gets it, and the tags that it gets there. */
export interface ManifestPush<E> {
  readonly state: RegistryState.RegistryState
  readonly repository: Repository
  readonly digest: Digest
  /** Manifests that it contains. */
  readonly children: ReadonlyArray<Digest>
  readonly tags: ReadonlyArray<Tag>
  /** True if the copy may refuse the tags at the last moment, so that no other copy pushes them. */
  readonly isGuarded: boolean
  readonly send: (tags: ReadonlyArray<Tag>) => Effect.Effect<unknown, E>
}

const keyOf = (repository: Repository, digest: Digest): string => `${repository} ${digest}`

/** Waits for pushes of a manifest and of its children, and reserves both until the scope closes. */
export const claim = (
  state: RegistryState.RegistryState,
  repository: Repository,
  digest: Digest,
  children: ReadonlyArray<Digest>
) => RegistryState.claim(state, Array.from(new Set([digest, ...children]), (each) => keyOf(repository, each)))

const claimAll = ({ children, digest, repository, state }: ManifestPush<unknown>) =>
  claim(state, repository, digest, children)

const send = <E>(push: ManifestPush<E>, tags: ReadonlyArray<Tag>) =>
  Effect.tap(push.send(tags), RegistryState.learn(push.state.manifests, push.repository, push.digest))

/** Pushes the manifest with its own tags only. */
const alone = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.gen(function*() {
    const { digest, repository, state, tags } = push
    yield* claimAll(push)
    const isKnown = yield* RegistryState.has(state.manifests, repository, digest)
    if (!isKnown || tags.length > 0) yield* send(push, tags)
    return !isKnown
  }).pipe(Effect.scoped)

/** Pushes the manifest with the tags of all copies that join until the push begins. */
const asFirst = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.suspend(() => {
    const { digest, repository, state, tags } = push
    const key = keyOf(repository, digest)
    const open: RegistryState.OpenPush = { tags: new Set(tags), ended: Deferred.makeUnsafe() }
    state.openPushes.set(key, open)
    const close = Effect.sync(() => {
      if (state.openPushes.get(key) === open) state.openPushes.delete(key)
    })
    return Effect.gen(function*() {
      yield* claimAll(push)
      yield* close
      const isKnown = yield* RegistryState.has(state.manifests, repository, digest)
      yield* send(push, Array.from(open.tags))
      return !isKnown
    }).pipe(
      Effect.scoped,
      Effect.onExit((exit) => Effect.andThen(close, Deferred.succeed(open.ended, Exit.isSuccess(exit)))),
      // the registry may have refused the tag of another copy
      Effect.catch((error) => open.tags.size > tags.length ? alone(push) : Effect.fail(error))
    )
  })

/**
 * Pushes a manifest, unless the repository is known to have it with all of its tags. Returns true if the repository was
 * not known to have it.
 */
export const push = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.gen(function*() {
    const { digest, isGuarded, repository, state, tags } = push
    const { tagParameters } = yield* state.registry.capabilities
    if (tags.length === 0 || isGuarded || tagParameters === false) return yield* alone(push)
    const open = state.openPushes.get(keyOf(repository, digest))
    if (open === undefined) return yield* asFirst(push)
    for (const tag of tags) open.tags.add(tag)
    return (yield* Deferred.await(open.ended)) ? false : yield* alone(push)
  })
