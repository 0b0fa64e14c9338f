/**
 * Changes of the config of an image. Everything that is not changed keeps its place and its value.
 */
import * as DateTime from "effect/DateTime"
import { isObject } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import type * as Config from "../ImageConfig.ts"
import type { Platform } from "../Platform.ts"

/**
 * Changes of the config of an image. In a record, `undefined` removes the key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Changes {
  readonly labels?: Readonly<Record<string, string | undefined>> | undefined
  /** Environment variables. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Entrypoint. It also removes the command, as in a Dockerfile, unless `cmd` is given. */
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Command, or arguments of the entrypoint. */
  readonly cmd?: ReadonlyArray<string> | undefined
  readonly user?: string | undefined
  readonly workingDirectory?: string | undefined
  /** Ports to add, such as `8080/tcp`. Default protocol: `tcp`. */
  readonly exposedPorts?: ReadonlyArray<string> | undefined
  readonly platform?: Platform | undefined
  /** Time at which the image and its new layers were made. Default: unchanged, and none for new layers. */
  readonly created?: DateTime.DateTime | undefined
}

/** The layers and the history that a config gets. */
export interface Stack {
  readonly diffIds: ReadonlyArray<Digest>
  /** Absent if the history stays as it is. */
  readonly history?: ReadonlyArray<Config.History> | undefined
}

type Fields = Readonly<Record<string, unknown>>

const decodeObject = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

/** Returns the fields of an object, or none. */
const fieldsOf = (value: unknown): Fields =>
  isObject(value) && !Array.isArray(value) ? Object.fromEntries(Object.entries(value)) : {}

/** Returns an object with changed fields. Fields that become `undefined` are removed. */
const changed = (object: Fields, changes: Fields): Fields =>
  Object.fromEntries(Object.entries({ ...object, ...changes }).filter(([, value]) => value !== undefined))

const nonEmpty = (object: Fields): Fields | undefined => Object.keys(object).length === 0 ? undefined : object

const nameOf = (variable: string): string => variable.split("=", 1)[0] ?? ""

/** Returns the environment with changed variables, in its order. New ones follow. */
const environment = (
  current: unknown,
  changes: Readonly<Record<string, string | undefined>>
): ReadonlyArray<string> => {
  const variables = new Map(
    (Array.isArray(current) ? current : []).map(String).map((variable) => [nameOf(variable), variable] as const)
  )
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) variables.delete(name)
    else variables.set(name, `${name}=${value}`)
  }
  return Array.from(variables.values())
}

const execution = (current: Fields, changes: Changes): Fields => {
  const { cmd, entrypoint, env, exposedPorts, labels, user, workingDirectory } = changes
  const list = (values: ReadonlyArray<string> | undefined) => values?.length === 0 ? undefined : values
  return changed(current, {
    ...user === undefined ? {} : { User: user },
    ...exposedPorts === undefined || exposedPorts.length === 0 ? {} : {
      ExposedPorts: {
        ...fieldsOf(current["ExposedPorts"]),
        ...Object.fromEntries(exposedPorts.map((port) => [port.includes("/") ? port : `${port}/tcp`, {}]))
      }
    },
    ...env === undefined || Object.keys(env).length === 0 ? {} : { Env: environment(current["Env"], env) },
    ...entrypoint === undefined ? {} : { Entrypoint: list(entrypoint), Cmd: undefined },
    ...cmd === undefined ? {} : { Cmd: list(cmd) },
    ...workingDirectory === undefined ? {} : { WorkingDir: workingDirectory },
    ...labels === undefined || Object.keys(labels).length === 0
      ? {}
      : { Labels: nonEmpty(changed(fieldsOf(current["Labels"]), labels)) }
  })
}

const platformFields = (platform: Platform): Fields => ({
  architecture: platform.architecture,
  os: platform.os,
  variant: platform.variant,
  "os.version": platform["os.version"],
  "os.features": platform["os.features"]
})

/** Formats a time without a fraction of the second. */
export const formatTime = (time: DateTime.DateTime): string => DateTime.formatIso(time).replace(/\.\d+Z$/, "Z")

/** Returns the bytes of a config with changes, or what is wrong with it. */
export const apply = (bytes: Uint8Array, changes: Changes, stack: Stack): Result.Result<Uint8Array, string> =>
  Result.map(
    Result.mapError(decodeObject(new TextDecoder().decode(bytes)), ({ message }) => message.slice(0, 300)),
    (document) => {
      const { created, platform } = changes
      const run = execution(fieldsOf(document["config"]), changes)
      const content = changed(document, {
        ...created === undefined ? {} : { created: formatTime(created) },
        ...platform === undefined ? {} : platformFields(platform),
        ...document["config"] === undefined && nonEmpty(run) === undefined ? {} : { config: run },
        rootfs: { ...fieldsOf(document["rootfs"]), type: "layers", diff_ids: stack.diffIds },
        ...stack.history === undefined ? {} : { history: stack.history }
      })
      return new TextEncoder().encode(JSON.stringify(content))
    }
  )
