/**
 * The commands that are compared, at their defaults and at their best settings.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import type { Competitor } from "./Runner.ts"

/** The ends of a copy. */
export interface Ends {
  /** Host of the source. */
  readonly source: string
  /** Host of the destination. */
  readonly destination: string
  /** Image at the source: a repository with a tag. */
  readonly image: string
  readonly tls: boolean
  /** Folder for the configuration of the commands. */
  readonly folder: string
  /** File of the authority of both registries. */
  readonly authority: string
}

/** A command with its settings. */
interface Peer {
  readonly name: string
  readonly command: string
  readonly args: (source: string, destination: string, ends: Ends) => ReadonlyArray<string>
  readonly env?: (ends: Ends, place: string) => Readonly<Record<string, string>>
}

/** The command as built. `BENCH_BASE` names `dist/cli/main.js` of another build, to compare with it. */
export const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))
const base = process.env["BENCH_BASE"]

// number of requests or jobs at a time with which each is fastest
const most = "64"

const own = (name: string, main: string): Peer => ({
  name,
  command: process.execPath,
  args: (source, destination, ends) => [
    main,
    "copy",
    ...ends.tls ? ["--ca-file", ends.authority, "--tls", ends.source, "--tls", ends.destination] : [],
    source,
    destination
  ]
})

const crane = (name: string, ...flags: ReadonlyArray<string>): Peer => ({
  name,
  command: "crane",
  args: (source, destination, { tls }) => ["copy", ...tls ? [] : ["--insecure"], ...flags, source, destination]
})

const oras = (name: string, ...flags: ReadonlyArray<string>): Peer => ({
  name,
  command: "oras",
  args: (source, destination, { authority, tls }) => [
    "cp",
    ...tls ? ["--from-ca-file", authority, "--to-ca-file", authority] : ["--from-plain-http", "--to-plain-http"],
    ...flags,
    source,
    destination
  ]
})

const regctl = (name: string, settings: object = {}): Peer => ({
  name,
  command: "regctl",
  args: (source, destination) => ["image", "copy", source, destination],
  env: ({ destination, folder, source, tls }) => {
    const host = (hostname: string) => [hostname, { hostname, tls: tls ? "enabled" : "disabled", ...settings }]
    const file = Path.join(folder, `${name.replaceAll(/\W/g, "-")}.json`)
    Fs.writeFileSync(file, JSON.stringify({ hosts: Object.fromEntries([source, destination].map(host)) }))
    return { REGCTL_CONFIG: file }
  }
})

/** Gives skopeo a cache of its own. That of known blobs would let it mount what the run before has copied. */
const skopeoCache = (folder: string, place: string) => ({
  _CONTAINERS_ROOTLESS_UID: "1000",
  XDG_DATA_HOME: Path.join(folder, place)
})

const skopeo: Peer = {
  name: "skopeo",
  command: "skopeo",
  args: (source, destination, { tls }) => [
    "copy",
    "--all",
    "--preserve-digests",
    ...tls ? [] : ["--src-tls-verify=false", "--dest-tls-verify=false"],
    `docker://${source}`,
    `docker://${destination}`
  ],
  env: ({ folder }, place) => skopeoCache(folder, place)
}

const peers: ReadonlyArray<Peer> = [
  own("effect-oci", main),
  ...base === undefined ? [] : [own("effect-oci, base", base)],
  crane("crane"),
  oras("oras"),
  regctl("regctl"),
  skopeo,
  crane(`crane --jobs ${most}`, "--jobs", most),
  oras(`oras --concurrency ${most}`, "--concurrency", most),
  regctl(`regctl, reqConcurrent ${most}`, { reqConcurrent: Number(most) })
]

/** Returns the commands that copy an image, ours first. Each run copies to a place of its own. */
export const copies = (ends: Ends): ReadonlyArray<Competitor> =>
  peers.map(({ args, command, env, name }) => ({
    name,
    command,
    args: (place) => args(`${ends.source}/${ends.image}`, `${ends.destination}/${place}:1`, ends),
    // the authority that all programs in Go trust
    env: (place) => ({ ...ends.tls ? { SSL_CERT_FILE: ends.authority } : {}, ...env?.(ends, place) })
  }))

/** Makes a command that mirrors what a file says. The file is written before the run. */
const mirror = (
  name: string,
  command: string,
  folder: string,
  content: (place: string) => object,
  args: (file: string, place: string) => ReadonlyArray<string>
): Competitor => ({
  name,
  command,
  args: (place) => {
    const file = Path.join(folder, `${place.replaceAll("/", "-")}.yml`)
    // JSON is YAML
    Fs.writeFileSync(file, JSON.stringify(content(place)))
    return args(file, place)
  }
})

/** Returns the commands that mirror repositories with all their tags, ours first. */
export const mirrors = (
  { destination, folder, source }: Pick<Ends, "source" | "destination" | "folder">,
  repositories: ReadonlyArray<string>
): ReadonlyArray<Competitor> => {
  // the state is a SQLite file beside the file
  const ours = (name: string, main: string, settings: object = {}) =>
    mirror(name, process.execPath, folder, (place) => ({
      version: 1,
      rules: repositories.map((repository) => ({
        from: `${source}/${repository}`,
        to: `${destination}/${place}/${repository}`,
        ...settings
      }))
    }), (file) => [main, "mirror", "run", "-c", file])
  const regsync = (name: string, defaults: object = {}, settings: object = {}) =>
    mirror(name, "regsync", folder, (place) => ({
      version: 1,
      creds: [source, destination].map((registry) => ({ registry, tls: "disabled", ...settings })),
      defaults,
      sync: repositories.map((repository) => ({
        source: `${source}/${repository}`,
        target: `${destination}/${place}/${repository}`,
        type: "repository"
      }))
    }), (file) => ["once", "--config", file])
  const skopeoSync = mirror("skopeo sync", "skopeo", folder, () => ({
    [source]: {
      "tls-verify": false,
      images: Object.fromEntries(repositories.map((repository) => [repository, []]))
    }
  }), (file, place) => [
    "sync",
    "--all",
    "--preserve-digests",
    "--dest-tls-verify=false",
    "--src",
    "yaml",
    "--dest",
    "docker",
    file,
    `${destination}/${place}`
  ])
  return [
    ours("effect-oci", main),
    ours("effect-oci, referrers: false", main, { referrers: false }),
    ...base === undefined ? [] : [ours("effect-oci, base", base)],
    regsync("regsync"),
    regsync(
      `regsync, parallel 16, reqConcurrent ${most}`,
      { parallel: 16 },
      { reqConcurrent: Number(most) }
    ),
    { ...skopeoSync, env: (place) => skopeoCache(folder, place) }
  ]
}
