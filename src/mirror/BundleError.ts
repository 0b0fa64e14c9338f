/**
 * Failures of bundles.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { printable } from "../Text.ts"

// maximum number of names in a message
const shown = 10

/**
 * A bundle or an inventory cannot be written, read or imported.
 *
 * - `Unreadable`: a file cannot be read or written.
 * - `Invalid`: the list of contents or the inventory is not one, breaks a limit, or contradicts itself.
 * - `Damaged`: a file has other bytes than the list of contents says.
 * - `MissingPieces`: files of the bundle are missing. `missing` names them.
 * - `MissingBase`: the destination lacks content that the bundle expects there. `missing` names it.
 * - `Incomplete`: some content could not be exported. `missing` names the tags, with the reasons.
 * - `Refused`: the path has other content, which is not replaced.
 *
 * @category errors
 * @since 0.1.0
 */
export class BundleError extends Schema.TaggedError<BundleError>("effect-oci/BundleError")("BundleError", {
  kind: Schema.Literals([
    "Unreadable",
    "Invalid",
    "Damaged",
    "MissingPieces",
    "MissingBase",
    "Incomplete",
    "Refused"
  ]),
  /** Path of the file or folder. */
  path: Schema.String,
  problem: Schema.String,
  /** Names of what is missing, at most 1000. */
  missing: Schema.Array(Schema.String),
  /** Number of all names. */
  total: Schema.Natural
}) {
  override get message(): string {
    const names = this.missing.slice(0, shown)
    const more = this.total > names.length ? `, and ${this.total - names.length} more` : ""
    return printable(`${this.path}: ${this.problem}${names.length === 0 ? "" : `: ${names.join(", ")}${more}`}`)
  }
}

// maximum number of names in an error
const maximumNames = 1000

/** Creates the errors about one path. */
export const failing = (path: string) =>
(
  kind: BundleError["kind"],
  problem: string,
  missing: ReadonlyArray<string> = []
): BundleError =>
  new BundleError({
    kind,
    path,
    // failures of the system begin with the path as well
    problem: problem.startsWith(`${path}: `) ? problem.slice(path.length + 2) : problem,
    missing: missing.slice(0, maximumNames),
    total: missing.length
  })
