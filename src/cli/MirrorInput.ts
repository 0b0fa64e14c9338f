/**
 * The flags of the verbs below `mirror` that use its state, and the file, the state and the registries that they name.
 */
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Hooks } from "../mirror/Mirror.ts"
import type { MirrorConfig } from "../mirror/MirrorConfig.ts"
import type { MirrorRule } from "../mirror/MirrorRule.ts"
import { MirrorState } from "../mirror/MirrorState.ts"
import * as Namespace from "../Namespace.ts"
import * as Flags from "./Flags.ts"
import * as MirrorFlags from "./MirrorFlags.ts"
import * as MirrorServices from "./MirrorServices.ts"
import { misuse } from "./ReferenceInput.ts"

/** Flags of the verbs that use the state. */
export const flags = {
  config: MirrorFlags.config,
  ...MirrorFlags.foreign,
  store: Flag.String("store").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription(
      "Store of the state: sqlite:FILE, postgres://…, memory, or env:NAME for the URL in an environment variable. " +
        "Default: that of the file, or a SQLite file beside it"
    ),
    Flag.optional
  ),
  rule: Flag.String("rule").pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription("Only this rule. May be repeated. Default: all rules"),
    Flag.atLeast(0)
  ),
  json: Flags.json
}

/** Values of these flags. */
export interface Values extends MirrorFlags.ForeignValues {
  readonly config: Option.Option<string>
  readonly store: Option.Option<string>
  readonly rule: ReadonlyArray<string>
  readonly json: boolean
}

/** The file of a mirror, with its chosen rules and its store. */
export interface Opened extends MirrorServices.Store {
  /** Name of the file. */
  readonly file: string
  readonly config: MirrorConfig
  /** Returns true if the flags choose a rule. */
  readonly isChosen: (rule: Pick<MirrorRule, "name">) => boolean
}

/** Loads the file, and opens the state until the scope closes. */
export const open = Effect.fnUntraced(function*(
  { config: flag, rule: names, store, ...foreign }: Values,
  use: "read" | "write"
) {
  const file = yield* MirrorFlags.nameOf(Option.none(), flag)
  const { config } = yield* MirrorFlags.load(file, foreign)
  const unknown = names.find((name) => !config.rules.some((rule) => rule.name === name))
  if (unknown !== undefined) {
    const known = config.rules.map(({ name }) => name).join(", ")
    return yield* misuse(`--rule: there is no rule ${JSON.stringify(unknown)}; the file has: ${known}`)
  }
  const opened: Opened = {
    file,
    config,
    isChosen: ({ name }) => names.length === 0 || names.includes(name),
    ...yield* MirrorServices.openStore(MirrorServices.storeOf(store, config, file), use)
  }
  return opened
})

/** Provides an effect with the state and with the registries of the file. */
export const connected = ({ config, rates, state }: Opened) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(MirrorServices.connect(config, rates), ({ hooks, namespace }) =>
    effect.pipe(
      Effect.provideService(Hooks, hooks),
      Effect.provideService(MirrorState, state),
      Effect.provideService(Namespace.Namespace, namespace)
    ))
