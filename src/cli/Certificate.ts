/**
 * The certificate of `serve` and its private key, which are read again when their files change.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Crypto from "node:crypto"
import * as Tls from "node:tls"
import { excerpt, printable } from "../Text.ts"
import { Failure } from "./Output.ts"

/** Files of a certificate, both in PEM. The first also contains intermediate certificates. */
export interface Files {
  readonly certificate: string
  readonly key: string
}

/** A certificate with its key. */
export interface Certificate {
  readonly certificate: string
  readonly key: string
  /** Names and addresses that the certificate is for. */
  readonly names: ReadonlyArray<string>
  readonly validUntil: DateTime.Utc
}

/** Oldest version of TLS that the server speaks. */
export const oldestVersion: Tls.SecureVersion = "TLSv1.2"

const maximumSize = 1024 * 1024

const readFile = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const unreadable = (problem: string) => new Failure({ message: `cannot read ${file}: ${problem}` })
  const { size } = yield* Effect.mapError(
    fs.stat(file),
    ({ reason }) => unreadable(reason._tag === "NotFound" ? "there is no such file" : reason._tag)
  )
  if (size > maximumSize) return yield* unreadable(`it is larger than ${maximumSize} bytes`)
  return yield* Effect.mapError(fs.readFileString(file), ({ reason }) => unreadable(reason._tag))
})

const codeOf = (cause: unknown): string => cause instanceof Error && "code" in cause ? String(cause.code) : ""

/** Returns why a key cannot be used. */
const keyProblem = (cause: unknown): string =>
  codeOf(cause) === "ERR_MISSING_PASSPHRASE" || codeOf(cause) === "ERR_OSSL_CRYPTO_INTERRUPTED_OR_CANCELLED"
    ? "it needs a passphrase: store it without one"
    : "it is not a private key in PEM"

/** Reads a certificate and its key. Fails unless a server can use them. */
export const read = Effect.fnUntraced(function*(files: Files): Effect.fn.Return<
  Certificate,
  Failure,
  FileSystem.FileSystem
> {
  const certificate = yield* readFile(files.certificate)
  const key = yield* readFile(files.key)
  const unusable = (file: string, problem: string) => new Failure({ message: `cannot use ${file}: ${problem}` })
  const parsed = yield* Effect.try({
    try: () => new Crypto.X509Certificate(certificate),
    catch: () => unusable(files.certificate, "it is not a certificate in PEM")
  })
  const privateKey = yield* Effect.try({
    try: () => Crypto.createPrivateKey(key),
    catch: (cause) => unusable(files.key, keyProblem(cause))
  })
  if (!parsed.checkPrivateKey(privateKey)) {
    return yield* unusable(files.key, `it is not the key of the certificate in ${files.certificate}`)
  }
  yield* Effect.try({
    try: () => Tls.createSecureContext({ cert: certificate, key, minVersion: oldestVersion }),
    catch: (cause) => unusable(files.certificate, cause instanceof Error ? excerpt(cause.message) : "TLS refuses it")
  })
  return {
    certificate,
    key,
    names: (parsed.subjectAltName ?? parsed.subject).split(/, |\n/).map((name) =>
      printable(name.replace(/^(?:DNS|IP Address|CN)[:=]/, ""))
    ),
    validUntil: DateTime.fromDateUnsafe(new Date(parsed.validTo))
  }
})

/** Formats the names of a certificate and the day until which it is valid. */
export const describe = ({ names, validUntil }: Certificate): string =>
  `${names.join(", ")}, valid until ${DateTime.formatIsoDateUtc(validUntil)}`

/** Logs a warning if a certificate has expired. */
export const warnIfExpired = Effect.fnUntraced(function*(certificate: Certificate) {
  const now = yield* DateTime.now
  if (DateTime.isLessThan(certificate.validUntil, now)) {
    yield* Effect.logWarning(`clients refuse the certificate, which has expired: ${describe(certificate)}`)
  }
})

/**
 * Reads the files again, and passes the certificate on. If it cannot be used, the former one stays and the problem is
 * logged.
 */
export const reload = (
  files: Files,
  replace: (certificate: Certificate) => Effect.Effect<void>
): Effect.Effect<void, never, FileSystem.FileSystem> =>
  Effect.matchEffect(read(files), {
    onFailure: ({ message }) => Effect.logError(`the former certificate stays: ${message}`),
    onSuccess: (certificate) =>
      replace(certificate).pipe(
        Effect.andThen(Effect.logInfo(`the certificate was read again: ${describe(certificate)}`)),
        Effect.andThen(warnIfExpired(certificate))
      )
  })

/** Returns a text that changes with the files. */
const stateOf = Effect.fnUntraced(function*({ certificate, key }: Files) {
  const fs = yield* FileSystem.FileSystem
  const states = yield* Effect.forEach([certificate, key], (file) =>
    fs.stat(file).pipe(
      Effect.map(({ ino, mtime, size }) =>
        [Option.getOrUndefined(ino), Option.getOrUndefined(mtime)?.getTime(), size].join(" ")
      ),
      Effect.orElseSucceed(() => "")
    ))
  return states.join("\n")
})

/** Time between two looks at the files. */
const interval = "1 second"

/**
 * Runs an effect each time that the files have changed and then rest for a second, so that a program can replace one
 * after the other. Looks at the files instead of waiting for events of their folder, because a certificate is often
 * a link to a folder that is replaced.
 */
export const watch = Effect.fnUntraced(function*<E, R>(files: () => Files, changed: Effect.Effect<void, E, R>) {
  let current = yield* stateOf(files())
  let last = current
  yield* Effect.gen(function*() {
    const state = yield* stateOf(files())
    const rests = state === last
    last = state
    if (state === current || !rests) return
    current = state
    yield* changed
  }).pipe(Effect.repeat(Schedule.spaced(interval)))
})
