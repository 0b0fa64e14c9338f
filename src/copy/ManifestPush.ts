/**
 * Pushing one manifest to one repository: one push at a time across all copies that share what is known, and none that
 * another copy has made unnecessary. Tags that several copies want for one manifest are pushed together.
 *
 * CNCF distribution 2.8 writes its links to a manifest again with each push, and while it does so refuses another push
 * of that manifest, or of an index that lists it, with `DIGEST_INVALID`. So a push also waits for those of its
 * children.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Digest } from "../Digest.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as RegistryState from "./RegistryState.ts"

/** A manifest, the repository that gets it, and the tags it gets there. */
export interface ManifestPush<E> {
  readonly state: RegistryState.RegistryState
  readonly repository: Repository
  readonly digest: Digest
  /** The manifests that it contains. */
  readonly children: ReadonlyArray<Digest>
  readonly tags: ReadonlyArray<Tag>
  readonly send: (tags: ReadonlyArray<Tag>) => Effect.Effect<unknown, E>
}

/** Returns what a push of a manifest is claimed by. */
export const keyOf = (repository: Repository, digest: Digest): string => `${repository} ${digest}`

const claim = ({ children, digest, state, repository }: ManifestPush<unknown>) =>
  RegistryState.claim(state, Array.from(new Set([digest, ...children]), (each) => keyOf(repository, each)))

const send = <E>(push: ManifestPush<E>, tags: ReadonlyArray<Tag>) =>
  Effect.tap(push.send(tags), RegistryState.learn(push.state.manifests, push.repository, push.digest))

/** Pushes the manifest by itself. */
const alone = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.gen(function*() {
    const { digest, state, repository, tags } = push
    yield* claim(push)
    const isKnown = yield* RegistryState.has(state.manifests, repository, digest)
    if (!isKnown || tags.length > 0) yield* send(push, tags)
    return !isKnown
  }).pipe(Effect.scoped)

/** Pushes the manifest with the tags of all copies that ask for it until its turn has come. */
const asFirst = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.suspend(() => {
    const { digest, state, repository, tags } = push
    const key = keyOf(repository, digest)
    const open: RegistryState.OpenPush = { tags: new Set(tags), ended: Deferred.makeUnsafe() }
    state.openPushes.set(key, open)
    const close = Effect.sync(() => {
      if (state.openPushes.get(key) === open) state.openPushes.delete(key)
    })
    return Effect.gen(function*() {
      yield* claim(push)
      yield* close
      const isKnown = yield* RegistryState.has(state.manifests, repository, digest)
      yield* send(push, Array.from(open.tags))
      return !isKnown
    }).pipe(
      Effect.scoped,
      Effect.onExit((exit) => Effect.andThen(close, Deferred.succeed(open.ended, Exit.isSuccess(exit)))),
      // it may be refused over the tag of another copy
      Effect.catch((error) => open.tags.size > tags.length ? alone(push) : Effect.fail(error))
    )
  })

/**
 * Pushes a manifest, unless it is known to be there with all of its tags. Returns true if it was not known to be there.
 */
export const push = <E>(push: ManifestPush<E>): Effect.Effect<boolean, E> =>
  Effect.gen(function*() {
    const { digest, state, repository, tags } = push
    const { tagParameters } = yield* state.registry.capabilities
    if (tags.length === 0 || tagParameters === false) return yield* alone(push)
    const open = state.openPushes.get(keyOf(repository, digest))
    if (open === undefined) return yield* asFirst(push)
    for (const tag of tags) open.tags.add(tag)
    return (yield* Deferred.await(open.ended)) ? false : yield* alone(push)
  })
