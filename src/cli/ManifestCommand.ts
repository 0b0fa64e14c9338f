/**
 * `effect-oci manifest get|put|inspect|delete`
 */
import * as Command from "effect/cli/Command"
import { ManifestDeleteCommand } from "./ManifestDeleteCommand.ts"
import { ManifestGetCommand } from "./ManifestGetCommand.ts"
import { ManifestInspectCommand } from "./ManifestInspectCommand.ts"
import { ManifestPutCommand } from "./ManifestPutCommand.ts"

export const ManifestCommand = Command.make("manifest").pipe(
  Command.withShortDescription("Get, put, inspect or delete a manifest"),
  Command.withDescription("Works on manifests: what an image or artifact consists of, and indexes of such."),
  Command.withSubcommands([ManifestGetCommand, ManifestPutCommand, ManifestInspectCommand, ManifestDeleteCommand])
)
