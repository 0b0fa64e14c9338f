/**
 * Credentials that the flags of a verb give. They go to the registry that the verb names and to no other.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as CredentialKeys from "../auth/CredentialKeys.ts"
import type { Credential, Place } from "../auth/Credentials.ts"
import type { Host, Repository } from "../Reference.ts"
import * as Password from "./Password.ts"
import { misuse } from "./ReferenceInput.ts"

/** The places that a verb uses, and the credentials that flags give for them. */
export interface End {
  /** Prefix of the names of the flags. */
  readonly prefix: Password.Prefix
  readonly given: Password.Given
  readonly places: ReadonlyArray<{
    readonly input: string
    readonly registry?: { readonly host: Host; readonly repository?: Repository | undefined } | undefined
  }>
}

/** A credential, with a predicate for the places that it is for. */
export interface GivenCredential {
  readonly flag: string
  readonly credential: Credential
  readonly isFor: (place: Place) => boolean
}

const sameHost = (one: string, other: string): boolean => CredentialKeys.placeOf(one) === CredentialKeys.placeOf(other)

const isUsed = ({ given }: End): boolean => Option.isSome(given.username) || Password.isGiven(given)

/** Returns the host of an end. Fails unless it has exactly one. */
const hostOf = Effect.fnUntraced(function*({ places, prefix }: End) {
  const hosts = places.flatMap(({ registry }) => registry === undefined ? [] : [registry.host])
  const [host, ...others] = hosts
  if (host === undefined) {
    const names = places.map(({ input }) => JSON.stringify(input)).join(", ")
    return yield* misuse(`--${prefix}username requires a registry${names === "" ? "" : `, and ${names} is none`}`)
  }
  if (others.every((other) => sameHost(host, other))) return host
  return yield* misuse(
    `--${prefix}username is for one registry, but there are ${hosts.join(" and ")}: use effect-oci login`
  )
})

/** Returns the repositories that the credentials of an end are limited to, if another end is in the same registry. */
const repositoriesOf = Effect.fnUntraced(function*(end: End, host: string, ends: ReadonlyArray<End>) {
  const own = end.places.flatMap(({ registry }) => registry?.repository ?? [])
  const others = ends.filter((other) => other !== end)
    .flatMap((other) => other.places.map(({ registry }) => ({ registry, isUsed: isUsed(other) })))
    .filter(({ registry }) => registry !== undefined && sameHost(registry.host, host))
  const shared = others.find(({ isUsed, registry }) => isUsed && own.some((name) => name === registry?.repository))
  if (shared !== undefined) {
    return yield* misuse("--from-username and --to-username are for the same repository: use one of them")
  }
  return others.length === 0 ? undefined : own
})

/** Reads the credentials that flags give for the ends of a verb. */
export const read = Effect.fnUntraced(function*(ends: ReadonlyArray<End>, readsStdin: boolean) {
  const used = ends.filter(isUsed)
  const fromStdin = used.filter(({ given }) => given.passwordStdin)
  if (fromStdin.length > 1) {
    return yield* misuse("stdin has only one password: use --from-password-file or --to-password-file for the other")
  }
  if (fromStdin.length === 1 && readsStdin) {
    return yield* misuse("stdin has the content: use --password-file for the password")
  }
  return yield* Effect.forEach(
    used,
    Effect.fnUntraced(function*(end) {
      const { given, prefix } = end
      if (Option.isNone(given.username) || given.username.value === "") {
        return yield* misuse(`a password requires --${prefix}username`)
      }
      const host = yield* hostOf(end)
      const repositories = yield* repositoriesOf(end, host, ends)
      const password = yield* Password.read(given, prefix)
      const { credentialOf } = yield* Effect.promise(() => import("../auth/CredentialHelper.ts"))
      const credential: GivenCredential = {
        flag: `--${prefix}username`,
        credential: credentialOf(given.username.value, password),
        isFor: (place) =>
          sameHost(place.host, host) &&
          (repositories === undefined || repositories.some((name) => name === place.repository))
      }
      return credential
    })
  )
})
