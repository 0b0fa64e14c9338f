/**
 * An oxlint plugin that finds optional properties whose type lacks `undefined`: a program that compiles with
 * `exactOptionalPropertyTypes` could not pass on a value that it may not have.
 */
import type { RuleTester } from "oxlint/plugins-dev"

type Rule = Parameters<RuleTester["run"]>[1]

interface TypeNode {
  readonly type: string
  readonly types?: ReadonlyArray<TypeNode>
}

const holdsUndefined = ({ type, types = [] }: TypeNode): boolean =>
  type === "TSUndefinedKeyword" || type === "TSUnknownKeyword" || types.some(holdsUndefined)

const rule: Rule = {
  create: (context) => ({
    TSPropertySignature: (node) => {
      const type: TypeNode | undefined = node.typeAnnotation?.typeAnnotation
      if (node.optional && type !== undefined && !holdsUndefined(type)) {
        context.report({ message: "the type of an optional property ends with | undefined", node })
      }
    }
  })
}

export default { meta: { name: "optional" }, rules: { undefined: rule } }
