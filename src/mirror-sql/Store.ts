/**
 * Preparation of the database of a mirror.
 */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import { MirrorStateError } from "../mirror/MirrorState.ts"
import * as Migrations from "./Migrations.ts"
import { failure } from "./StoreAccess.ts"

/** Applies the migrations that are missing, unless a newer version has written the database. */
export const migrate = Effect.gen(function*() {
  const applied = yield* Migrations.applied
  if (applied === Migrations.latest) return
  if (applied > Migrations.latest) {
    return yield* new MirrorStateError({
      operation: "open",
      problem: `it has version ${applied}, but this program knows versions up to ${Migrations.latest} only`,
      isRetryable: false
    })
  }
  yield* Migrations.apply
}).pipe(
  Effect.mapError((error) => {
    if (!(error instanceof Migrator.MigrationError)) return failure("open")(error)
    const { message: problem } = error
    return new MirrorStateError({ operation: "open", problem, cause: error, isRetryable: error.kind === "Locked" })
  })
)
