/**
 * Progress of a run that has just begun.
 */
import type { Activity } from "./MirrorRunner.ts"

/** Activity in which nothing has happened yet. */
export const none: Activity = { planned: 0, copied: 0, failed: 0, pruned: 0, bytes: 0, copies: [] }
