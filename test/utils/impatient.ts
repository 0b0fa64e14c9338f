/**
 * `it`, where a request that failed is not sent again: for tests of what one request does.
 */
import { it as patient, type Vitest } from "@effect/vitest"
import { Effect, Schedule, type Scope } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"

const once = Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))

const impatient = (tester: Vitest.Tester<Scope.Scope>) =>
  Object.assign(
    <A, E>(name: string, test: () => Effect.Effect<A, E, Scope.Scope>, timeout?: number) =>
      tester(name, () => once(test()), timeout),
    {
      each: <T>(cases: ReadonlyArray<T>) => <A, E>(name: string, test: (args: T) => Effect.Effect<A, E, Scope.Scope>) =>
        tester.each(cases)(name, (args) => once(test(args))),
      skipIf: (condition: boolean) => impatientOnly(tester.skipIf(condition))
    }
  )

const impatientOnly =
  (test: Vitest.Test<Scope.Scope>) => <A, E>(name: string, self: () => Effect.Effect<A, E, Scope.Scope>) =>
    test(name, () => once(self()))

export const it = {
  each: patient.each.bind(patient),
  effect: impatient(patient.effect),
  live: impatient(patient.live)
}
