/**
 * An oxlint plugin that checks imports: a room of `src` imports only from the rooms below it, and only some rooms may
 * import certain packages.
 */
import { isBuiltin } from "node:module"
import { basename, dirname, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import type { RuleTester } from "oxlint/plugins-dev"

type Rule = Parameters<RuleTester["run"]>[1]

interface Source {
  readonly range: [number, number]
  readonly value?: unknown
}

/** Rooms, from the lowest floor to the highest. A room is a folder or a module directly in `src`. */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  [
    "Text",
    "Bytes",
    "Uuid",
    "KeyedLock",
    "OnePiece",
    "HeldPermits",
    "KnownTags",
    "RateLimitHeaders",
    "JsonScan",
    "JsonArray",
    "OtherFields",
    "Digest",
    "ChunkMemory",
    "Preparation",
    "Hasher",
    "NobleHasher",
    "MediaType",
    "Annotations",
    "Platform",
    "Descriptor",
    "ImageConfig",
    "ManifestContent",
    "ManifestEncoding",
    "Manifest",
    "LargeManifest",
    "Reference",
    "TagFilter",
    "DockerHub",
    "TokenScope",
    "Tracing"
  ],
  [
    "BlobSource",
    "RegistryError",
    "ExternalBlobs",
    "Observer",
    "Metrics",
    "Retries",
    "Limiter",
    "Upload",
    "Registry",
    "Learning"
  ],
  ["Resolver", "Retention"],
  ["stores"],
  ["views"],
  ["http"],
  ["auth"],
  ["client"],
  ["web"],
  ["server"],
  ["copy"],
  ["Namespace"],
  ["fetch"],
  ["artifact"],
  ["mirror"],
  ["mirror-web"],
  ["mirror-sql"],
  ["index"],
  ["testing"],
  ["node"],
  ["cli"]
]

const strangers = ["stores", "views", "client", "server"]

/** Rooms that may import from outside `src`. The first pattern that matches a specifier decides. */
const outside: ReadonlyArray<readonly [specifier: RegExp, rooms: ReadonlyArray<string>]> = [
  [/^@?effect(\/[a-z-]+)*$/, []],
  [/^effect-oci(\/|$)/, []],
  [/^effect\/(cli|http|http-api|process)\//, [
    "http",
    "auth",
    "client",
    "web",
    "server",
    "testing",
    "fetch",
    "mirror-web",
    "node",
    "cli"
  ]],
  [/^effect\/(sql|persistence)\//, ["mirror-sql", "node"]],
  [/^@effect\/platform-node/, ["node", "cli"]],
  [/^@effect\/sql-pg/, ["node"]],
  [/^@noble\/hashes/, ["NobleHasher"]],
  [/^bcryptjs$/, ["cli"]]
]
const nodeRooms = ["node", "cli"]

const src = fileURLToPath(new URL("../src", import.meta.url))

const roomOf = (file: string): string => basename(relative(src, file).split(/[\\/]/, 1)[0] ?? "", ".ts")

const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room))

/** Returns why `file` must not import `specifier`, or `undefined`. */
const verdict = (file: string, specifier: string): string | undefined => {
  const room = roomOf(file)
  if (floorOf(room) < 0) return `${room} is not one of the rooms in .build/floors.ts`
  if (!specifier.startsWith(".")) {
    const allowed = isBuiltin(specifier) ? nodeRooms : outside.find(([pattern]) => pattern.test(specifier))?.[1]
    if (allowed === undefined || allowed.includes(room)) return undefined
    return allowed.length === 0
      ? `import from the module itself, not from ${specifier}`
      : `${specifier} is for ${allowed.join(", ")}, not for ${room}`
  }
  const target = roomOf(resolve(dirname(file), specifier))
  if (floorOf(target) < 0) return `${target} is not one of the rooms in .build/floors.ts`
  if (target === "index") return "import from the module itself, not from the index"
  if (target === room) return undefined
  if (strangers.includes(room) && strangers.includes(target)) return `${room} and ${target} meet at Registry`
  return floorOf(target) > floorOf(room) ? `${target} is above ${room}` : undefined
}

const rule: Rule = {
  create: (context) => {
    const check = (source: Source | null) => {
      const message = typeof source?.value === "string" ? verdict(context.filename, source.value) : undefined
      if (source !== null && message !== undefined) context.report({ message, node: source })
    }
    return {
      ImportDeclaration: ({ source }) => check(source),
      ImportExpression: ({ source }) => check(source),
      ExportAllDeclaration: ({ source }) => check(source),
      ExportNamedDeclaration: ({ source }) => check(source),
      TSImportType: ({ source }) => check(source)
    }
  }
}

export default { meta: { name: "house" }, rules: { floors: rule } }
