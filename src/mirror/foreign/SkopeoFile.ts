/**
 * Reads the file of `skopeo sync --src yaml`.
 *
 * It does not name a destination. As in skopeo, the repository of the destination is the last part of that of the
 * source, unless the names are scoped.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as DockerHub from "../../DockerHub.ts"
import { isLoopback } from "../../http/AddressPolicy.ts"
import * as Reference from "../../Reference.ts"
import type { RegistryEntry, Rule } from "../MirrorFile.ts"
import type { FilePath } from "../Problem.ts"
import * as Foreign from "./Foreign.ts"
import * as GoRegex from "./GoRegex.ts"
import * as VersionRange from "./VersionRange.ts"

const { lenient } = Foreign

const Entry = Schema.Struct({
  images: lenient(Schema.Record(Schema.String, Schema.NullOr(Schema.Array(Schema.String)))),
  "images-by-tag-regex": lenient(Schema.Record(Schema.String, Schema.String)),
  "images-by-semver": lenient(Schema.Record(Schema.String, Schema.String)),
  credentials: lenient(Schema.Struct({
    username: lenient(Schema.String),
    password: lenient(Schema.String),
    identitytoken: lenient(Schema.String)
  })),
  "tls-verify": lenient(Schema.Boolean),
  "cert-dir": lenient(Schema.String)
})

type Entry = typeof Entry.Type

const File = Schema.Record(Schema.String, Entry)

/** Makes the rule of a repository. */
type MakeRule = (name: string, tags: Rule["tags"] | undefined, place: FilePath) => void

// a version of skopeo contains no underscore
const notVersions = "_"

const readTags = (host: string, entry: Entry, notes: Foreign.Notes, make: MakeRule): void => {
  for (const [name, refs] of Object.entries(entry.images ?? {})) {
    const place: FilePath = [host, "images", name]
    const tags = (refs ?? []).filter((ref, index) => {
      if (!ref.includes(":")) return true
      Foreign.omit(notes, [...place, index], "a digest has no counterpart: the image is left out")
      return false
    })
    // an empty list stands for all tags
    if (tags.length > 0 || (refs ?? []).length === 0) {
      make(name, tags.length === 0 ? { digestTags: true } : tags, place)
    }
  }
  for (const [name, regex] of Object.entries(entry["images-by-tag-regex"] ?? {})) {
    const place: FilePath = [host, "images-by-tag-regex", name]
    const match = Foreign.accept(notes, place, GoRegex.translate(regex))
    if (match !== undefined) make(name, { match, digestTags: true }, place)
  }
  for (const [name, range] of Object.entries(entry["images-by-semver"] ?? {})) {
    const place: FilePath = [host, "images-by-semver", name]
    const semver = Foreign.accept(notes, place, VersionRange.ofSkopeo(range))
    if (semver !== undefined) {
      make(name, {
        exclude: notVersions,
        semver: semver.range,
        versions: "partial",
        preReleases: semver.preReleases
      }, place)
    }
  }
}

const registryOf = (host: string, entry: Entry, notes: Foreign.Notes): typeof RegistryEntry.Type => {
  if ((entry["cert-dir"] ?? "") !== "") {
    Foreign.omit(notes, [host, "cert-dir"], "name the files with --ca-file, --cert-file and --key-file")
  }
  if ((entry.credentials?.identitytoken ?? "") !== "") {
    Foreign.omit(notes, [host, "credentials", "identitytoken"], "log in with effect-oci login")
  }
  if (entry["tls-verify"] !== false) return {}
  return isLoopback(host) ? { scheme: "plainHttp" } : { scheme: "insecure" }
}

/** Reads the file of skopeo. */
export const read: Foreign.Reader = Effect.fnUntraced(function*(value, { names, to }, notes) {
  const registries = new Map<string, typeof RegistryEntry.Type>()
  const passwords = new Map<string, Foreign.Password>()
  const rules: Array<Foreign.PlacedRule> = []
  const file = Foreign.decode(File, value, notes)
  if (file === undefined) return { rules, registries, passwords }
  if (to === undefined) {
    notes.problems.push({ path: [], message: "the file of skopeo names no destination: use --to HOST/PREFIX" })
    return { rules, registries, passwords }
  }
  for (const [host, entry] of Object.entries(file)) {
    const registry = DockerHub.isHost(host) ? DockerHub.host : host
    const settings = registryOf(host, entry, notes)
    const { password = "", username = "" } = entry.credentials ?? {}
    if (Object.keys(settings).length > 0 || (username ?? "") !== "") registries.set(registry, settings)
    if ((username ?? "") !== "") {
      passwords.set(registry, { username: username ?? "", password: Redacted.make(password ?? "") })
    }
    readTags(host, entry, notes, (name, tags, place) => {
      const source = Foreign.accept(notes, place, Foreign.readReference(`${host}/${name}`))
      if (source === undefined) return
      const { registry, repository } = source
      const own = names === "scoped" ? `${registry}/${repository}` : repository.replace(/^.*\//, "")
      rules.push({
        rule: {
          from: Reference.format({ registry, repository }),
          to: `${to.replace(/\/+$/, "")}/${own}`,
          ...tags === undefined ? {} : { tags },
          platforms: "all",
          referrers: false
        },
        place
      })
    })
  }
  return { rules: Foreign.joined(rules), registries, passwords }
})
