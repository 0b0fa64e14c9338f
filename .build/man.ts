/**
 * Writes the man page of the command to `dist/cli/effect-oci.1`.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { page } from "./ManPage.ts"

const folder = new URL("../dist/cli/", import.meta.url)
Fs.mkdirSync(folder, { recursive: true })
Fs.writeFileSync(new URL("effect-oci.1", folder), await Effect.runPromise(Effect.provide(page, NodeServices.layer)))
