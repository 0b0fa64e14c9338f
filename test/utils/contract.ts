import { Contract } from "effect-oci/testing"

export type Need = Contract.Need
export const contract = Contract.cases
