/**
 * The trial of a registry that is not known yet: the first small blob that it gets shows how it accepts blobs, so that
 * the others take fewer requests.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { OnLearnt } from "../Learning.ts"
import * as Preparation from "../Preparation.ts"
import * as Upload from "../Upload.ts"
import * as Job from "./Job.ts"
import type { ContentNode } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"

// probe for self-mounts only if at least this many blobs are pending: the probe costs one request
const selfMountThreshold = 4

// maximum time for which other blobs wait for the trial of the first one
const trialTimeout = Duration.seconds(2)

/**
 * Selects one small blob as the first that a registry gets, so that {@link tryMount} can probe with it and the others
 * need no separate lookup. Other blobs wait for that trial. Small ones that the registry probably lacks wait only until
 * it is known how the registry accepts them. Returns the registries where this blob is the trial.
 */
export const tryOrWait = Effect.fnUntraced(
  function*(job: Job.Job, node: ContentNode, destinations: ReadonlyArray<Job.Destination>, isNew: boolean) {
    const tried: Array<RegistryState.RegistryState> = []
    const waits: Array<Deferred.Deferred<void>> = []
    const isSmall = node.descriptor.size <= Upload.smallBlob
    for (const destination of destinations) {
      const { registry, state } = destination
      if (!(yield* isWorthTrying(job, destination, node))) continue
      const { singlePost } = yield* registry.capabilities
      if (state.trial === undefined) {
        if (isSmall) tried.push(yield* startTrial(state))
      } else if (!isNew || !isSmall) waits.push(state.trial.ended)
      else if (singlePost === undefined) waits.push(state.trial.learnt)
    }
    // a trial does not wait for another trial, so that no two wait for each other
    if (tried.length === 0 && waits.length > 0) {
      for (const { registry } of [job.source, ...destinations]) Preparation.prepare(registry)
      yield* Effect.forEach(waits, (wait) => Effect.timeoutOption(Deferred.await(wait), trialTimeout))
    }
    return tried
  }
)

/** Starts the trial of a registry, which ends when the scope closes. */
const startTrial = Effect.fnUntraced(function*(state: RegistryState.RegistryState) {
  const trial: RegistryState.Trial = { learnt: Deferred.makeUnsafe(), ended: Deferred.makeUnsafe() }
  state.trial = trial
  yield* Effect.addFinalizer(() => {
    state.trial = undefined
    return Effect.andThen(Deferred.succeed(trial.learnt, undefined), Deferred.succeed(trial.ended, undefined))
  })
  return state
})

/** Runs the trial of some registries, so that what is learnt from it reaches the blobs that wait for that. */
export const announcing =
  (tried: ReadonlyArray<RegistryState.RegistryState>) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    tried.length === 0 ?
      effect :
      Effect.provideService(effect, OnLearnt, (name, { singlePost }) =>
        Effect.suspend(() => {
          const trial = tried.find(({ registry }) => registry.name === name)?.trial
          return trial === undefined || singlePost === undefined
            ? Effect.void
            : Deferred.succeed(trial.learnt, undefined)
        }))

/** Returns true if it would save requests to know how a registry answers to a self-mount. */
const isWorthTrying = Effect.fnUntraced(
  function*(job: Job.Job, destination: Job.Destination, { descriptor: { digest } }: ContentNode) {
    const { pending, source } = job
    const { state, registry, repository } = destination
    const { anonymousMount, selfMount } = yield* registry.capabilities
    if (anonymousMount === true || selfMount !== undefined || pending < selfMountThreshold) return false
    if (state.trial === undefined && state.selfMountProbe !== "none") return false
    if (Job.isSameRepository(job, destination)) return false
    if (yield* RegistryState.has(state.blobs, repository, digest)) return false
    const given = source.registry === registry ? source.repository : undefined
    return RegistryState.origin(state, digest, repository, given) === undefined
  }
)

/**
 * Probes once whether a registry accepts a self-mount: a mount of a blob from the repository that has it already. If it
 * does, a single request per blob then shows whether the blob is present, and opens a session if not. The probe runs
 * before any manifest refers to the blob, because distribution 2.8 writes its link to the blob again, and until then
 * refuses manifests that refer to it.
 */
export const tryMount = Effect.fnUntraced(
  function*({ pending }: Job.Job, { state, registry, repository }: Job.Destination, node: ContentNode) {
    const { selfMount } = yield* registry.capabilities
    if (selfMount !== undefined || state.selfMountProbe !== "none" || pending < selfMountThreshold) return
    state.selfMountProbe = "running"
    const mount = { digest: node.descriptor.digest, from: repository }
    yield* Effect.ignore(Effect.scoped(registry.startUpload(repository, { mount }))).pipe(
      Effect.ensuring(Effect.sync(() => {
        state.selfMountProbe = "done"
      }))
    )
  }
)
