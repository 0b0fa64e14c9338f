/**
 * Parts that the verbs below `mirror bundle` share: the file of the mirror, its registries, and progress on stderr.
 */
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Hooks } from "../mirror/Mirror.ts"
import type { MirrorConfig } from "../mirror/MirrorConfig.ts"
import * as Namespace from "../Namespace.ts"
import { Observer } from "../Observer.ts"
import * as Connection from "./Connection.ts"
import * as Messages from "./Messages.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as MirrorServices from "./MirrorServices.ts"
import { misuse } from "./ReferenceInput.ts"

/** The flag that chooses rules. */
export const rule = Flag.String("rule").pipe(
  Flag.withMetavar("NAME"),
  Flag.withDescription("Only this rule. May be repeated. Default: all rules"),
  Flag.atLeast(0)
)

/** Returns a test for the rules that flags choose. */
export const chosen = (names: ReadonlyArray<string>) => ({ name }: { readonly name: string }): boolean =>
  names.length === 0 || names.includes(name)

/** Loads the file of a mirror, and checks that it has the chosen rules. */
export const load = Effect.fnUntraced(function*(
  file: string,
  foreign: MirrorFlags.ForeignValues,
  names: ReadonlyArray<string>
) {
  const { config } = yield* MirrorFlags.load(file, foreign)
  const unknown = names.find((name) => !config.rules.some((rule) => rule.name === name))
  if (unknown === undefined) return config
  const known = config.rules.map(({ name }) => name).join(", ")
  return yield* misuse(`--rule: there is no rule ${JSON.stringify(unknown)}; the file has: ${known}`)
})

/** Settings of the registries if there is no file: docker's credentials, and no limits. */
const noFile: Pick<MirrorConfig, "onRepositoryMissing" | "registries"> = {
  registries: [],
  onRepositoryMissing: undefined
}

/** Provides an effect with the registries of a file. */
export const connected = (config: Option.Option<MirrorConfig>) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    MirrorServices.connect(Option.getOrElse(config, () => noFile), undefined),
    ({ hooks, namespace }) =>
      effect.pipe(
        Effect.provideService(Hooks, hooks),
        Effect.provideService(Namespace.Namespace, namespace),
        Effect.provideService(Observer, Connection.observe)
      )
  )

/** Reports a step. */
export const progress = Messages.note
