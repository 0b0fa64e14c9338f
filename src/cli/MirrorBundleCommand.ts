/**
 * `effect-oci mirror bundle`
 */
import * as Command from "effect/cli/Command"
import { BundleExportCommand } from "./BundleExportCommand.ts"
import { BundleImportCommand } from "./BundleImportCommand.ts"
import { BundleInventoryCommand } from "./BundleInventoryCommand.ts"

export const MirrorBundleCommand = Command.make("bundle").pipe(
  Command.withShortDescription("Carries a mirror across an air gap, in files"),
  Command.withDescription(
    "Carries a mirror across an air gap: export writes what the rules select to files, import copies these files to " +
      "the destinations, and inventory lists what a destination has."
  ),
  Command.withSubcommands([BundleExportCommand, BundleImportCommand, BundleInventoryCommand])
)
