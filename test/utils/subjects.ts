/**
 * Registries of every kind that is not behind HTTP, as the contract wants to have them.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, type Scope } from "effect"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as PrefixRegistry from "effect-oci/PrefixRegistry"
import type { Registry } from "effect-oci/Registry"
import type { Contract } from "effect-oci/testing"
import * as UnionRegistry from "effect-oci/UnionRegistry"
import * as View from "effect-oci/View"
import { repository } from "./images.ts"
import { temporaryFolder } from "./layouts.ts"

export interface Subject {
  readonly name: string
  readonly lacks?: ReadonlyArray<Contract.Need>
  /** Another of its kind is there already, which differs from it little. */
  readonly isVariant?: boolean
  readonly make: Effect.Effect<{ readonly registry: Registry; readonly origin?: Registry }, never, Scope.Scope>
}

const ofOne = (view: (registry: Registry) => Registry) =>
  Effect.map(MemoryRegistry.make(), (registry) => ({ registry: view(registry) }))

const ofTwo = (options: UnionRegistry.Options) =>
  Effect.map(
    Effect.all([MemoryRegistry.make({ name: "one" }), MemoryRegistry.make({ name: "two" })]),
    (registries) => ({ registry: UnionRegistry.make(registries, options), second: registries[1] })
  )

const cached = Effect.gen(function*() {
  const origin = yield* MemoryRegistry.make({ name: "upstream" })
  const store = yield* MemoryRegistry.make({ name: "store" })
  return { registry: yield* CacheRegistry.make(origin, { store }), origin }
})

const writing: ReadonlyArray<Contract.Need> = ["push", "sessions", "mount", "delete", "tagDelete", "retag"]

/** Every view, over registries in memory. */
export const views: ReadonlyArray<Subject> = [
  {
    name: "readOnly",
    lacks: writing,
    make: Effect.map(MemoryRegistry.make(), (origin) => ({ registry: View.readOnly(origin), origin }))
  },
  { name: "immutable", lacks: ["delete", "tagDelete", "retag"], make: ofOne(View.immutable) },
  { name: "sub", make: ofOne(View.sub(repository("team/of-one"))) },
  {
    name: "sub of a sub",
    isVariant: true,
    make: ofOne((registry) => View.sub(View.sub(registry, repository("a")), repository("b")))
  },
  {
    name: "select of some",
    make: ofOne(View.select((repository) => repository.startsWith("contract/")))
  },
  { name: "logged", make: ofOne(View.logged) },
  {
    name: "a registry below a prefix",
    make: ofOne((registry) => PrefixRegistry.make({ registries: { contract: registry } }))
  },
  {
    name: "the rest of a registry of prefixes",
    isVariant: true,
    make: Effect.map(
      Effect.all([MemoryRegistry.make(), MemoryRegistry.make({ name: "other" })]),
      ([rest, other]) => ({ registry: PrefixRegistry.make({ name: rest.name, registries: { other }, rest }) })
    )
  },
  { name: "a cache that is written through", make: Effect.map(cached, ({ registry }) => ({ registry })) },
  { name: "a cache", make: cached },
  ...(["sequential", "concurrent"] as const).flatMap((policy): ReadonlyArray<Subject> => [
    { name: `a ${policy} union`, lacks: ["ownErrors"], make: ofTwo({ policy }) },
    {
      name: `a ${policy} union that writes to all`,
      isVariant: true,
      lacks: ["ownErrors"],
      make: ofTwo({ policy, writes: "all" })
    },
    {
      name: `a ${policy} union, of what its second registry has`,
      isVariant: true,
      lacks: ["ownErrors", "mount", "delete", "tagDelete"],
      make: Effect.map(ofTwo({ policy }), ({ registry, second }) => ({ registry, origin: second }))
    }
  ])
]

/** A registry of layouts. A single layout is none of these: each promise to it wants one for itself. */
export const folder: Subject = {
  name: "a registry in a folder",
  make: Effect.gen(function*() {
    // tests of the store itself wait for the disk; those over HTTP need not
    return { registry: yield* LayoutRegistry.make({ directory: yield* temporaryFolder, durability: "process-end" }) }
  }).pipe(Effect.provide(NodeServices.layer))
}
