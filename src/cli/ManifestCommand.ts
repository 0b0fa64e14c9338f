/**
 * `effect-oci manifest get|put|inspect|delete`
 */
import * as Command from "effect/cli/Command"
import { ManifestDeleteCommand } from "./ManifestDeleteCommand.ts"
import { ManifestGetCommand } from "./ManifestGetCommand.ts"
import { ManifestInspectCommand } from "./ManifestInspectCommand.ts"
import { ManifestPutCommand } from "./ManifestPutCommand.ts"

export const ManifestCommand = Command.make("manifest").pipe(
  Command.withShortDescription("Gets, puts, inspects or deletes a manifest"),
  Command.withDescription("Reads and writes manifests of images and artifacts, and indexes of them."),
  Command.withSubcommands([ManifestGetCommand, ManifestPutCommand, ManifestInspectCommand, ManifestDeleteCommand])
)
