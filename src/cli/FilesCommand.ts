/**
 * `effect-oci files`
 */
import * as Command from "effect/cli/Command"
import { FilesCatCommand } from "./FilesCatCommand.ts"
import { FilesExportCommand } from "./FilesExportCommand.ts"
import { FilesListCommand } from "./FilesListCommand.ts"

export const FilesCommand = Command.make("files").pipe(
  Command.withShortDescription("Lists, prints and exports the files of an image"),
  Command.withDescription("Lists, prints and exports the files in the layers of an image. Nothing is run."),
  Command.withSubcommands([FilesListCommand, FilesCatCommand, FilesExportCommand])
)
