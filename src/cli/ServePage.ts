/**
 * The page of `serve` for browsers.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import type { Registry } from "../Registry.ts"
import type { App, Options } from "../server/RegistryServer.ts"
import { isLoopback } from "../web/SameSite.ts"
import { misuse } from "./ReferenceInput.ts"
import type { Scrubs } from "./ServeScrub.ts"
import type * as ServeSettings from "./ServeSettings.ts"

/** The settings of `serve` that matter for the page. */
type Settings = Pick<ServeSettings.Values, "ui" | "uiChanges" | "host" | "proxy" | "readOnly">

const isCache = ({ proxy = [] }: Settings): boolean => proxy.length > 0

const isOn = ({ host = "127.0.0.1", ui }: Settings): boolean => ui ?? isLoopback(host)

/** Fails if the settings ask for changes by the page, but there is no page, or the content must not change. */
export const check = (settings: Settings) => {
  if (settings.uiChanges !== true) return Effect.void
  if (!isOn(settings)) return Effect.fail(misuse("--ui-changes requires --ui"))
  if (isCache(settings)) return Effect.fail(misuse("--ui-changes and --proxy contradict each other"))
  return settings.readOnly === true
    ? Effect.fail(misuse("--ui-changes and --read-only contradict each other"))
    : Effect.void
}

/** Returns what adds the page to an app. It shows the store, so that the page of a cache asks no upstream. */
export const make = Effect.fnUntraced(function*(
  store: Registry,
  settings: Settings,
  { allowedHosts, authentication, changes, clientRequestLimit, clientRequestRate, requestLimit }: Options,
  { isSecure, scrubs }: { readonly isSecure: boolean; readonly scrubs: Scrubs | undefined }
): Effect.fn.Return<(app: App) => App, never, Scope.Scope> {
  if (!isOn(settings)) return identity
  const RegistryPage = yield* Effect.promise(() => import("../server/RegistryPage.ts"))
  return yield* RegistryPage.make(store, {
    allowedHosts,
    authentication,
    requestLimit,
    clientRequestLimit,
    clientRequestRate,
    isSecure,
    changes: settings.uiChanges === true ? changes : "none",
    ...isCache(settings)
      ? { remark: "This registry is a cache. The page shows what it has stored, and asks no other registry." }
      : {},
    ...scrubs === undefined ? {} : { check: scrubs.last }
  })
})
