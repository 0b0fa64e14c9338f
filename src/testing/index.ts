/**
 * Tools for tests of registries, and of programs that use them.
 *
 * @since 0.1.0
 */
export * as Contract from "./Contract.ts"
export * as Faults from "./Faults.ts"
export * as Images from "./Images.ts"
export * as Quirks from "./Quirks.ts"
