import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { doctest } from "./doctest/plugin.ts"

// its examples run with other modules and another `fetch` than the tests
const examples = "test/doctest/doctest.test.ts"

export default defineConfig({
  plugins: [doctest()],
  root: fileURLToPath(new URL("..", import.meta.url)),
  ssr: { resolve: { conditions: ["effect-oci:source", "module", "node", "development|production"] } },
  test: {
    setupFiles: ["test/setup.ts"],
    sequence: { concurrent: true },
    maxWorkers: "100%",
    testTimeout: 30_000,
    projects: [
      // modules are loaded once, because loading them for each file takes half of the time
      {
        extends: true,
        test: {
          name: "tests",
          include: ["test/**/*.test.ts", "examples/*.test.ts"],
          exclude: [examples],
          isolate: false
        }
      },
      { extends: true, test: { name: "documentation", include: [examples] } }
    ]
  }
})
