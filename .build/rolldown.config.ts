/**
 * Bundles the command with the packages that it uses, because it then starts in two thirds of the time.
 */
import { defineConfig } from "rolldown"
import { licenses, treeshake } from "./licenses.ts"

export default defineConfig({
  input: "src/cli/main.ts",
  platform: "node",
  plugins: [licenses],
  treeshake,
  output: { dir: "dist/cli", minify: true, chunkFileNames: "[name]-[hash].js" }
})
