/**
 * Archives on stdout.
 */
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { Storage } from "../RegistryError.ts"
import { refusal } from "../stores/Files.ts"
import { misuse } from "./ReferenceInput.ts"

/** Returns a function that writes to stdout. Fails if stdout is a terminal. */
export const forArchive = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  if (yield* stdio.stdoutIsTerminal) {
    return yield* misuse("an archive is not written to a terminal: redirect stdout to a file or a pipe")
  }
  const sink = stdio.stdout({ endOnDone: false })
  return (bytes: Uint8Array): Effect.Effect<void, Storage> =>
    Effect.mapError(Stream.run(Stream.succeed(bytes), sink), refusal("stdout"))
})
