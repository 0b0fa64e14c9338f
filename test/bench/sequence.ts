/**
 * Runs commands one after another, as a user does who has many images and a command for one.
 */
import * as ChildProcess from "node:child_process"

const commands: ReadonlyArray<ReadonlyArray<string>> = JSON.parse(process.argv[2] ?? "[]")
for (const [command = "", ...args] of commands) {
  const { status, stderr } = ChildProcess.spawnSync(command, args, { stdio: ["ignore", "ignore", "pipe"] })
  if (status === 0) continue
  process.stderr.write(stderr)
  process.exit(1)
}
