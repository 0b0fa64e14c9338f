/**
 * The command in one file, as users have it. It starts in a third of the time that the source takes.
 */
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Files and folders that the built command depends on. */
const inputs = ["src", ".build", "package.json", "package-lock.json"]

const filesOf = (path: string): ReadonlyArray<string> =>
  Fs.statSync(path).isDirectory()
    ? Fs.readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => Path.join(entry.parentPath, entry.name))
      .sort()
    : [path]

const fingerprint = (): string => {
  const hash = Crypto.createHash("sha256")
  for (const file of inputs.flatMap((input) => filesOf(Path.join(root, input)))) {
    hash.update(`${Path.relative(root, file)}\0`).update(Fs.readFileSync(file)).update("\0")
  }
  return hash.digest("hex").slice(0, 16)
}

/** Builds the command into a folder. */
const build = (folder: string) => {
  ChildProcess.execFileSync(
    process.execPath,
    [Path.join(root, "node_modules/rolldown/bin/cli.mjs"), "--config", ".build/rolldown.config.ts"],
    { cwd: root, env: { ...process.env, EFFECT_OCI_BUILD: folder }, stdio: ["ignore", "ignore", "inherit"] }
  )
  Fs.writeFileSync(Path.join(folder, "package.json"), `{"type":"module"}`)
}

/** Removes what was built more than a day ago, because each change of the source adds a folder. */
const removeOld = (cache: string) => {
  for (const name of Fs.readdirSync(cache)) {
    const folder = Path.join(cache, name)
    const age = Date.now() - (Fs.statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Infinity)
    if (age > 24 * 3600 * 1000) Fs.rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Returns the path of the command. It is built unless it was built before from the same files. Several processes may
 * ask for it at the same time.
 */
export const path = (): string => {
  const cache = Path.join(root, "node_modules", ".cache", "effect-oci")
  const name = fingerprint()
  const folder = Path.join(cache, name)
  if (!Fs.existsSync(folder)) {
    Fs.mkdirSync(cache, { recursive: true })
    removeOld(cache)
    const draft = Fs.mkdtempSync(Path.join(cache, "draft-"))
    build(draft)
    // another process may have been faster
    if (Fs.existsSync(folder)) Fs.rmSync(draft, { recursive: true })
    else Fs.renameSync(draft, folder)
  }
  return Path.join(folder, "main.js")
}
