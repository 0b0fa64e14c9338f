/**
 * How much a registry holds, and how much it may hold.
 *
 * Content that several repositories share counts once for the registry, and for each of them. What an upload has
 * received counts as well, so that many uploads cannot take more than there is.
 */
import * as Effect from "effect/Effect"
import { ContentTooLarge, Denied, TooManyRequests } from "../RegistryError.ts"

/** Limits in bytes, and of upload sessions in their number. What is left out has no limit. */
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

/** Each check returns why something does not fit, or nothing if it does. */
export interface Usage {
  /** Checks the size of a blob. */
  readonly checkBlob: (size: number) => ContentTooLarge | undefined
  /** Checks whether one more upload session may be open. */
  readonly checkUploads: (open: number) => TooManyRequests | undefined
  /** Checks whether so much fits, without counting it. */
  readonly check: (repository: string, amount: Amount) => Denied | undefined
  /** Counts what is added, if it fits. */
  readonly add: (repository: string, amount: Amount) => Denied | undefined
  /** Counts what is there, whether it fits or not. */
  readonly found: (repository: string, amount: Amount) => void
  /** Counts what is gone. */
  readonly remove: (repository: string, amount: Amount) => void
}

/** Returns the amount of content that nothing else shares. */
export const unshared = (bytes: number): Amount => ({ repository: bytes, total: bytes })

/** Returns the sum of two amounts. */
export const plus = (self: Amount, that: Amount): Amount => ({
  repository: self.repository + that.repository,
  total: self.total + that.total
})

/** Fails with what a check returned, if it did. */
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
    // what another process wrote can be removed without having been counted
    total = Math.max(0, total + amount.total)
  }

  const check: Usage["check"] = (repository, amount) => {
    const size = (repositories.get(repository) ?? 0) + amount.repository
    if (amount.repository > 0 && size > maximumRepositorySize) {
      return new Denied({ detail: `a repository may have ${maximumRepositorySize} bytes, and this one is full` })
    }
    return amount.total > 0 && total + amount.total > maximumSize
      ? new Denied({ detail: `the registry may have ${maximumSize} bytes, and is full` })
      : undefined
  }

  return {
    checkBlob: (size) => size > maximumBlobSize ? new ContentTooLarge({ limit: maximumBlobSize }) : undefined,
    checkUploads: (open) =>
      open < maximumUploads
        ? undefined
        : new TooManyRequests({ detail: `${maximumUploads} upload sessions may be open, and are` }),
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
