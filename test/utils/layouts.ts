/**
 * Image layouts as others see them: read with nothing of this package.
 */
import { assert } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** A folder that is gone when the scope closes. */
export const temporaryFolder = FileSystem.FileSystem.use((fs) =>
  Effect.orDie(fs.makeTempDirectoryScoped({ prefix: "effect-oci-" }))
)

export const has = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(Path.delimiter).some((folder) => Fs.existsSync(Path.join(folder, command)))

export interface Entry {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>> | undefined
}

/** The entries of `index.json`. */
export const entriesOf = (layout: string): ReadonlyArray<Entry> =>
  JSON.parse(Fs.readFileSync(Path.join(layout, "index.json"), "utf8")).manifests

export const tagOf = ({ annotations }: Entry): string | undefined => annotations?.["org.opencontainers.image.ref.name"]

export const blobPath = (layout: string, digest: string): string => Path.join(layout, "blobs", ...digest.split(":"))

/** Moves a file to the quarantine, as a collection does before it crashes, and returns its path there. */
export const leaveInQuarantine = (layout: string, digest: string): string => {
  const collected = Path.join(layout, ".effect-oci", "collected")
  const path = Path.join(collected, digest.replace(":", "-"))
  Fs.mkdirSync(collected, { recursive: true })
  Fs.renameSync(blobPath(layout, digest), path)
  return path
}

/** Every file below a folder, by its path there. */
export const filesOf = (folder: string): ReadonlyArray<string> =>
  Fs.existsSync(folder)
    ? Fs.readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => Path.relative(folder, Path.join(entry.parentPath, entry.name)))
      .sort()
    : []

/** The files that do not belong to a layout, except the lock and the marker of the form. */
export const leftovers = (folder: string): ReadonlyArray<string> =>
  filesOf(folder).filter((file) =>
    file.includes(".effect-oci") && !/\.effect-oci\/(?:lock\/[0-9]+\.free|registry)$/.test(file)
  )

/** Checks all that a layout promises: it is one, no blob is another than its name says, and nothing listed lacks a part. */
export const assertValid = (layout: string): void => {
  assert.deepStrictEqual(JSON.parse(Fs.readFileSync(Path.join(layout, "oci-layout"), "utf8")), {
    imageLayoutVersion: "1.0.0"
  })
  for (const algorithm of Fs.readdirSync(Path.join(layout, "blobs"))) {
    for (const name of Fs.readdirSync(Path.join(layout, "blobs", algorithm))) {
      const bytes = Fs.readFileSync(Path.join(layout, "blobs", algorithm, name))
      assert.strictEqual(createHash(algorithm).update(bytes).digest("hex"), name)
    }
  }
  entriesOf(layout).forEach((entry) => assertComplete(layout, entry))
}

/** Checks that a manifest and everything below it is there. */
export const assertComplete = (layout: string, { digest, mediaType, size }: Entry): void => {
  if (mediaType.includes("nondistributable")) return
  const bytes = Fs.readFileSync(blobPath(layout, digest))
  assert.strictEqual(bytes.length, size)
  if (!/manifest|index/.test(mediaType)) return
  const { config = [], layers = [], manifests = [] } = JSON.parse(bytes.toString())
  for (const child of [config, layers, manifests].flat()) assertComplete(layout, child)
}
