/**
 * The amount of content that a registry holds, with its limits.
 *
 * Content that several repositories share counts once for the registry, and once for each of them. The bytes that an
 * upload has received count as well, so that concurrent uploads together cannot exceed a limit.
 */
import * as Effect from "effect/Effect"
import { ContentTooLarge, Denied, TooManyRequests } from "../RegistryError.ts"

/** Limits in bytes, and the maximum number of upload sessions. Default of each: no limit. */
export interface Limits {
  readonly maximumBlobSize?: number | undefined
  readonly maximumRepositorySize?: number | undefined
  readonly maximumSize?: number | undefined
  readonly maximumUploads?: number | undefined
}

/** Numbers of bytes that count for a repository, and for the whole registry. */
export interface Amount {
  readonly repository: number
  readonly total: number
}

/** Counters of content. A check returns the reason of a refusal, or `undefined` if the content fits. */
export interface Usage {
  /** Checks the size of a blob. */
  readonly checkBlob: (size: number) => ContentTooLarge | undefined
  /** Checks whether one more upload session may be open. */
  readonly checkUploads: (open: number) => TooManyRequests | undefined
  /** Checks whether an amount fits, without adding it. */
  readonly check: (repository: string, amount: Amount) => Denied | undefined
  /** Adds an amount if it fits. */
  readonly add: (repository: string, amount: Amount) => Denied | undefined
  /** Adds an amount that exists already, whether it fits or not. */
  readonly found: (repository: string, amount: Amount) => void
  /** Subtracts an amount that was removed. */
  readonly remove: (repository: string, amount: Amount) => void
}

/** Returns the amount of content that no other repository shares. */
export const unshared = (bytes: number): Amount => ({ repository: bytes, total: bytes })

/** Returns the sum of two amounts. */
export const plus = (self: Amount, that: Amount): Amount => ({
  repository: self.repository + that.repository,
  total: self.total + that.total
})

/** Runs a check, and fails with the reason that it returns, if any. */
export const orFail = <E>(check: () => E | undefined): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const refusal = check()
    return refusal === undefined ? Effect.void : Effect.fail(refusal)
  })

export const make = (limits: Limits): Usage => {
  const {
    maximumBlobSize = Infinity,
    maximumRepositorySize = Infinity,
    maximumSize = Infinity,
    maximumUploads = Infinity
  } = limits
  const repositories = new Map<string, number>()
  let total = 0

  const found: Usage["found"] = (repository, amount) => {
    const size = Math.max(0, (repositories.get(repository) ?? 0) + amount.repository)
    if (size === 0) repositories.delete(repository)
    else repositories.set(repository, size)
    // not below zero: content of another process may be removed without having been counted
    total = Math.max(0, total + amount.total)
  }

  const check: Usage["check"] = (repository, amount) => {
    const size = (repositories.get(repository) ?? 0) + amount.repository
    if (amount.repository > 0 && size > maximumRepositorySize) {
      return new Denied({ detail: `the repository is full: it may have ${maximumRepositorySize} bytes` })
    }
    return amount.total > 0 && total + amount.total > maximumSize
      ? new Denied({ detail: `the registry is full: it may have ${maximumSize} bytes` })
      : undefined
  }

  return {
    checkBlob: (size) => size > maximumBlobSize ? new ContentTooLarge({ limit: maximumBlobSize }) : undefined,
    checkUploads: (open) =>
      open < maximumUploads
        ? undefined
        : new TooManyRequests({ detail: `it has ${maximumUploads} open upload sessions, which is the limit` }),
    check,
    add: (repository, amount) => {
      const refusal = check(repository, amount)
      if (refusal === undefined) found(repository, amount)
      return refusal
    },
    found,
    remove: (repository, { repository: bytes, total }) => found(repository, { repository: -bytes, total: -total })
  }
}
