/**
 * `effect-oci index create|add|remove|annotate`
 */
import * as Command from "effect/cli/Command"
import { IndexAddCommand } from "./IndexAddCommand.ts"
import { IndexAnnotateCommand } from "./IndexAnnotateCommand.ts"
import { IndexCreateCommand } from "./IndexCreateCommand.ts"
import { IndexRemoveCommand } from "./IndexRemoveCommand.ts"

export const IndexCommand = Command.make("index").pipe(
  Command.withShortDescription("Makes an image index, or changes one"),
  Command.withDescription("Makes and changes image indexes: the images of several platforms under one tag."),
  Command.withSubcommands([IndexCreateCommand, IndexAddCommand, IndexRemoveCommand, IndexAnnotateCommand])
)
