/**
 * The streams of the process. Whoever does not want to hear more of it does not stop it; results that cannot be written are
 * another matter.
 */

let lost: NodeJS.ErrnoException | undefined

/** Keeps the process from ending over a stream that nobody takes. */
export const watch = (): void => {
  process.stderr.on("error", () => {})
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    lost = error
  })
}

const exitCode = (code: number): number => {
  if (lost === undefined || lost.code === "EPIPE" || code !== 0) return code
  process.stderr.write(`effect-oci: the result could not be written: ${lost.message}\n`)
  return 1
}

/** Ends when everything is written, with this code, or another if it could not be. */
export const end = (code: number, exit: (code: number) => void): void => {
  process.stdout.write("", () => setImmediate(() => exit(exitCode(code))))
}
