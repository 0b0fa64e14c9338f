/**
 * The standard streams of the process. A closed stderr does not stop the command. A result that cannot be written is an
 * error, unless its reader has closed the pipe.
 */
import * as Mode from "./Mode.ts"

let lost: NodeJS.ErrnoException | undefined

/** Keeps errors of the standard streams from ending the process. */
export const watch = (): void => {
  process.stderr.on("error", () => {})
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    lost = error
  })
}

/** Writes an error on stderr, in the format that the arguments of the process set. */
export const complain = (message: string): void => {
  const isJson = Mode.isJson(process.argv.slice(2))
  process.stderr.write(isJson ? `${JSON.stringify({ type: "error", message })}\n` : `effect-oci: ${message}\n`)
}

const exitCode = (code: number): number => {
  if (lost === undefined || lost.code === "EPIPE" || code !== 0) return code
  complain(`cannot write the result: ${lost.message}`)
  return 1
}

/** Calls `exit` after everything is written: with this code, or with 1 if the result could not be written. */
export const end = (code: number, exit: (code: number) => void): void => {
  process.stdout.write("", () => setImmediate(() => exit(exitCode(code))))
}
