/**
 * Runs commands one after another: what somebody does who has a command for one image, and many images.
 */
import * as ChildProcess from "node:child_process"

const commands: ReadonlyArray<ReadonlyArray<string>> = JSON.parse(process.argv[2] ?? "[]")
for (const [command = "", ...args] of commands) {
  const { status, stderr } = ChildProcess.spawnSync(command, args, { stdio: ["ignore", "ignore", "pipe"] })
  if (status === 0) continue
  process.stderr.write(stderr)
  process.exit(1)
}
