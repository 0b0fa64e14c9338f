/**
 * `effect-oci blob get|put|head|delete`
 */
import * as Command from "effect/cli/Command"
import { BlobDeleteCommand } from "./BlobDeleteCommand.ts"
import { BlobGetCommand } from "./BlobGetCommand.ts"
import { BlobHeadCommand } from "./BlobHeadCommand.ts"
import { BlobPutCommand } from "./BlobPutCommand.ts"

export const BlobCommand = Command.make("blob").pipe(
  Command.withShortDescription("Gets, puts, looks up or deletes a blob"),
  Command.withDescription("Reads and writes blobs: the configs and layers that manifests refer to by digest."),
  Command.withSubcommands([BlobGetCommand, BlobPutCommand, BlobHeadCommand, BlobDeleteCommand])
)
