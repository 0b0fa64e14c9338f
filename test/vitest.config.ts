import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { doctest } from "./doctest/plugin.ts"

export default defineConfig({
  plugins: [doctest()],
  root: fileURLToPath(new URL("..", import.meta.url)),
  ssr: { resolve: { conditions: ["effect-oci:source", "module", "node", "development|production"] } },
  test: {
    include: ["test/**/*.test.ts", "examples/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    sequence: { concurrent: true },
    maxWorkers: "100%",
    testTimeout: 30_000
  }
})
