/**
 * Finding modules faster than Node does by itself.
 *
 * Most of the time that the command takes to start goes by with some two thousand imports between its own modules and
 * those of Effect: for each of them Node looks for files, and reads what the package says of itself anew. Within a package
 * whose modules are all of one kind, a relative import is the file that it says, and any other leads to the same module
 * wherever it stands.
 */
import * as module from "node:module"

// packages in which every file below dist is an ECMAScript module
const effect = /^.*\/node_modules\/(?:effect|@effect\/platform-node(?:-shared)?)\/dist\//
const own = new URL("..", import.meta.url).href

const packageOf = (url: string | undefined): string | undefined =>
  url?.startsWith(own) === true ? own : effect.exec(url ?? "")?.[0]

/** From now on, what an import of these packages has found is remembered. Node does as it always does with all others. */
export const remember = (): void => {
  const found = new Map<string, module.ResolveFnOutput>()
  module.registerHooks({
    resolve: (specifier, context, nextResolve) => {
      const within = packageOf(context.parentURL)
      if (within === undefined) return nextResolve(specifier, context)
      if (specifier.startsWith(".") && specifier.endsWith(".js")) {
        return { url: new URL(specifier, context.parentURL).href, format: "module", shortCircuit: true }
      }
      const key = `${within} ${specifier}`
      const known = found.get(key) ?? { ...nextResolve(specifier, context), shortCircuit: true }
      if (!specifier.startsWith(".")) found.set(key, known)
      return known
    }
  })
}
