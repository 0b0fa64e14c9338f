/**
 * Builds the command as one executable, `dist/single/effect-oci`, which needs no Node: a copy of this Node with the
 * bundled command in it (a single executable application). It runs on the platform on which it is built.
 */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"
import { licenses, treeshake } from "./licenses.ts"

// marks the place in Node that `postject` overwrites (Node's documentation, "Single executable applications")
const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = Path.join(root, "dist/single")
const executable = Path.join(folder, process.platform === "win32" ? "effect-oci.exe" : "effect-oci")
const at = (name: string) => Path.join(folder, name)

const bundle = async () => {
  const build = await rolldown({
    cwd: root,
    input: "src/cli/main.ts",
    platform: "node",
    plugins: [licenses],
    treeshake,
    // Node 24 embeds CommonJS only, in which there is no `import.meta`
    transform: { define: { "import.meta": "{}" } }
  })
  await build.write({ dir: folder, entryFileNames: "main.cjs", format: "cjs", minify: true, codeSplitting: false })
}

const inject = () => {
  const config = {
    main: at("main.cjs"),
    output: at("main.blob"),
    disableExperimentalSEAWarning: true,
    useCodeCache: true
  }
  Fs.writeFileSync(at("sea.json"), JSON.stringify(config))
  execFileSync(process.execPath, ["--experimental-sea-config", at("sea.json")], { stdio: "inherit" })
  Fs.copyFileSync(Fs.realpathSync(process.execPath), executable)
  Fs.chmodSync(executable, 0o755)
  // macOS refuses a changed executable with the old signature
  const isMac = process.platform === "darwin"
  if (isMac) execFileSync("codesign", ["--remove-signature", executable])
  const segment = isMac ? ["--macho-segment-name", "NODE_SEA"] : []
  const injection = [executable, "NODE_SEA_BLOB", at("main.blob"), "--sentinel-fuse", fuse, ...segment]
  execFileSync("npx", ["-y", "--package=postject@1.0.0-alpha.6", "--", "postject", ...injection], {
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32"
  })
  if (isMac) execFileSync("codesign", ["--sign", "-", executable])
  for (const name of ["main.cjs", "main.blob", "sea.json"]) Fs.rmSync(at(name))
}

Fs.rmSync(folder, { recursive: true, force: true })
await bundle()
inject()
console.log(`${executable}: ${Math.round(Fs.statSync(executable).size / 1024 / 1024)} MiB`)
