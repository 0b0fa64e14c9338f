/**
 * Formats numbers and times for people.
 */
import * as ByteSize from "effect/ByteSize"
import * as DateTime from "effect/DateTime"

/** Formats a number of bytes. */
export const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/** Formats a count with its noun: `1 blob`, `2 retries`. */
export const plural = (count: number, noun: string): string =>
  `${count} ${count === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`

/** Formats a duration, given in milliseconds, that may be long: `40 s`, `3 min 20 s`, `2 h 5 min`. */
export const lasting = (millis: number): string => {
  const whole = Math.round(millis / 1000)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Formats a duration, given in milliseconds, in its largest unit: `40 s`, `3 min`, `5 h`, `2 days`. */
export const roughly = (millis: number): string => {
  const seconds = Math.round(Math.abs(millis) / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}

/** Formats a time relative to now: `in 5 min`, `2 h ago`. */
export const relative = (time: DateTime.Utc, now: DateTime.Utc): string => {
  const left = DateTime.toEpochMillis(time) - DateTime.toEpochMillis(now)
  if (Math.abs(left) < 1000) return "now"
  return left > 0 ? `in ${roughly(left)}` : `${roughly(left)} ago`
}

/** Formats a time in UTC, such as `2026-11-27 12:00:00 UTC`. */
export const time = (time: DateTime.Utc): string => `${DateTime.formatIso(time).slice(0, 19).replace("T", " ")} UTC`

/** Formats a number with separators of thousands, such as `12,345`. */
export const number = (value: number): string => value.toLocaleString("en-US")
