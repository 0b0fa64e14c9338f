/**
 * The command with short intervals of the jobs of a mirror, for tests of accidents.
 */
import { NodeServices } from "@effect/platform-node"
import { Duration, Effect } from "effect"
import * as Program from "../../src/cli/Program.ts"
import * as Signals from "../../src/cli/Signals.ts"
import * as MirrorJobs from "../../src/mirror/MirrorJobs.ts"

const command = Program.run(process.argv.slice(2)).pipe(
  Effect.provideService(MirrorJobs.PollInterval, Duration.millis(200)),
  Effect.provideService(MirrorJobs.RefreshInterval, Duration.seconds(1)),
  Effect.provideService(MirrorJobs.LockExpiration, Duration.seconds(3)),
  Effect.provideService(MirrorJobs.RetryInterval, Duration.seconds(1)),
  Effect.provide(NodeServices.layer)
)

const fiber = Effect.runFork(command)
process.on("SIGTERM", () => Signals.raise("SIGTERM"))
fiber.addObserver((exit) => process.exit(Program.exitCode(exit)))
