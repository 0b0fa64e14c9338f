/**
 * Reading of what each view shows.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../../Descriptor.ts"
import * as Digest from "../../Digest.ts"
import * as Manifest from "../../Manifest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import type { RegistryError } from "../../RegistryError.ts"
import type { Page } from "../../web/Page.ts"
import type { Check } from "./Check.ts"
import * as Content from "./Content.ts"
import type * as Forms from "./Forms.ts"
import type * as Frame from "./Frame.ts"
import * as ImageView from "./ImageView.ts"
import * as Names from "./Names.ts"
import * as RepositoriesView from "./RepositoriesView.ts"
import * as RepositoryView from "./RepositoryView.ts"
import type { RepositorySpace, Space } from "./Space.ts"
import * as SpaceView from "./SpaceView.ts"

/** Sources of the views. */
export interface Sources {
  readonly registry: Registry
  readonly space: Space
  readonly check: Effect.Effect<Check | undefined>
}

/** Decides whether the viewer sees a repository. */
export type Sees = (repository: string) => Effect.Effect<boolean>

/** Returns the part of a check that is about repositories which the viewer sees. */
const visible = Effect.fnUntraced(function*(check: Check | undefined, sees: Sees) {
  if (check === undefined) return undefined
  return { ...check, problems: yield* Effect.filter(check.problems, ({ repository }) => sees(repository)) }
})

export const repositories = Effect.fnUntraced(function*(
  { check, registry, space }: Sources,
  context: Frame.Context,
  sees: Sees,
  query: URLSearchParams
): Effect.fn.Return<Page, RegistryError> {
  const names = yield* Names.read(registry.repositories, query, sees)
  return RepositoriesView.make(context, {
    names,
    space: yield* space.report,
    check: yield* visible(yield* check, sees)
  })
})

export const space = Effect.fnUntraced(function*({ space }: Sources, context: Frame.Context, sees: Sees) {
  const report = yield* space.report
  const repositories: ReadonlyArray<RepositorySpace> | undefined = report && (yield* Effect.filter(
    report.repositories.values(),
    ({ repository }) => sees(repository)
  ))
  return SpaceView.make(context, { repositories, measuredAt: report?.at, isPartial: report?.isPartial ?? false })
})

const lineOf = (registry: Registry, repository: Repository, tag: Tag): Effect.Effect<RepositoryView.Line> =>
  Content.read(registry, repository, tag).pipe(
    Effect.flatMap((node) => Content.summarize(registry, repository, node)),
    Effect.result,
    Effect.map((summary) => ({ tag, summary: Result.mapError(summary, ({ message }) => message) }))
  )

export const repository = Effect.fnUntraced(function*(
  { check, registry }: Sources,
  context: Frame.Context,
  repository: Repository,
  query: URLSearchParams
): Effect.fn.Return<Page, RegistryError> {
  const names = yield* Names.read(
    (options) => registry.tags(repository, options),
    query,
    () => Effect.succeed(true)
  )
  const items = yield* Effect.forEach(names.items, (tag) => lineOf(registry, repository, tag), { concurrency: 4 })
  return RepositoryView.make(context, {
    repository,
    names: { ...names, items },
    check: yield* visible(yield* check, (name) => Effect.succeed(name === repository))
  })
})

const referrersOf = (
  registry: Registry,
  repository: Repository,
  digest: Digest.Digest
): Effect.Effect<Result.Result<ReadonlyArray<Descriptor>, string>> =>
  Stream.runCollect(Stream.take(registry.referrers(repository, digest), ImageView.referrerLimit + 1)).pipe(
    Effect.result,
    Effect.map(Result.mapError(({ message }) => message))
  )

export const image = Effect.fnUntraced(function*(
  { registry }: Sources,
  context: Frame.Context,
  repository: Repository,
  reference: Tag | Digest.Digest,
  forms: Forms.Forms
): Effect.fn.Return<Page, RegistryError> {
  const node = yield* Content.read(registry, repository, reference)
  const manifest = Result.getOrUndefined(node.manifest)
  const children = manifest?._tag === "Index" ? Manifest.references(manifest).manifests : []
  const config = manifest?._tag === "Image" && Content.isImageConfig(manifest.content.config)
    ? yield* Content.readConfig(registry, repository, manifest.content.config, Content.configLimit)
    : undefined
  return ImageView.make(context, {
    repository,
    tag: Digest.isDigest(reference) ? undefined : reference,
    node,
    children: yield* Content.readChildren(registry, repository, children),
    config,
    referrers: yield* referrersOf(registry, repository, node.descriptor.digest),
    forms
  })
})
