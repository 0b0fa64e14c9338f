/**
 * The check of the configuration of `serve`.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Certificate from "./Certificate.ts"
import * as Format from "./Format.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"
import * as ServeFiles from "./ServeFiles.ts"
import type * as ServeSettings from "./ServeSettings.ts"
import * as ServeUsers from "./ServeUsers.ts"
import * as Upstream from "./Upstream.ts"

/** Schema of the result. */
export const CheckedConfiguration = Schema.Struct({
  address: Schema.String.annotate({ description: "Address and port to listen on" }),
  directory: Schema.optionalKey(Schema.String).annotate({ description: "Folder of the content" }),
  certificate: Schema.optionalKey(Schema.Struct({
    names: Schema.Array(Schema.String),
    validUntil: Schema.String.annotate({ description: "Day of expiry" })
  })),
  users: Schema.optionalKey(Schema.Array(Schema.String)).annotate({
    description: "Names of users. Absent if there is no authentication"
  }),
  upstreams: Schema.optionalKey(Schema.Array(Schema.String)).annotate({
    description: "Registries whose content is cached, as --proxy names them"
  }),
  rules: Schema.optionalKey(Schema.Natural).annotate({ description: "Number of rules about rights" })
})

/** Reports problems as lines on stderr. The failure is misuse. */
export const reported = ({ message }: { readonly message: string }) =>
  Effect.andThen(
    Effect.forEach(message.split("\n"), (line) => Messages.send({ type: "error", message: Format.oneLine(line) })),
    Effect.fail(new Output.Reported({ exitCode: 2 }))
  )

const readUsers = Effect.fnUntraced(function*(settings: ServeSettings.Values) {
  const files = ServeFiles.usersOf(settings)
  return files === undefined ? undefined : yield* ServeUsers.load(files)
})

const readCertificate = Effect.fnUntraced(function*(settings: ServeSettings.Values) {
  const pair = yield* ServeFiles.certificateOf(settings)
  return pair === undefined ? undefined : yield* Certificate.read(pair)
})

const messageOf = (result: Result.Result<unknown, { readonly message: string }>): ReadonlyArray<string> =>
  Result.isFailure(result) ? [result.failure.message] : []

/** Reads all files that the settings name, and prints what they contain. Fails with all problems at once. */
export const run = Effect.fnUntraced(function*(settings: ServeSettings.Values, isJson: boolean) {
  const users = yield* Effect.result(readUsers(settings))
  const certificate = yield* Effect.result(readCertificate(settings))
  if (Result.isFailure(users) || Result.isFailure(certificate)) {
    return yield* reported({ message: [...messageOf(users), ...messageOf(certificate)].join("\n") })
  }
  const found = users.success
  const tls = certificate.success
  for (const remark of found === undefined ? [] : ServeUsers.remarks(found)) yield* Messages.warn(remark)
  const { dir, host = "127.0.0.1", port = 5000 } = settings
  const names = found === undefined ? undefined : [...found.passwords.keys(), ...found.hashes.keys()]
  const rules = found?.access?.rules
  const upstreams = (settings.proxy ?? []).map(Upstream.format)
  if (isJson) {
    return yield* Output.json(CheckedConfiguration, {
      address: `${host}:${port}`,
      ...dir === undefined ? {} : { directory: dir },
      ...tls === undefined
        ? {}
        : { certificate: { names: tls.names, validUntil: DateTime.formatIsoDateUtc(tls.validUntil) } },
      ...names === undefined ? {} : { users: names },
      ...upstreams.length === 0 ? {} : { upstreams },
      ...rules === undefined ? {} : { rules }
    })
  }
  yield* Output.text([
    `address      ${host}:${port}`,
    `content      ${dir ?? "in memory"}`,
    `certificate  ${tls === undefined ? "none: HTTP" : Certificate.describe(tls)}`,
    `users        ${
      names === undefined ? "none: every client may do everything" : `${names.length}: ${names.join(", ")}`
    }`,
    ...upstreams.length === 0 ? [] : [`upstreams    ${upstreams.join(", ")}`],
    ...rules === undefined ? [] : [`rights       ${Format.plural(rules, "rule")}`]
  ])
})
