import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import type * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as LayoutIndex from "../../src/stores/LayoutIndex.ts"
import * as LayoutIndexText from "../../src/stores/LayoutIndexText.ts"
import * as SortedMap from "../../src/stores/SortedMap.ts"
import { tag } from "../utils/images.ts"

const manifest = (byte: number): Descriptor.Descriptor => ({
  mediaType: MediaType.imageManifest,
  digest: Digest.fromHash("sha256", new Uint8Array(32).fill(byte)),
  size: byte
})
const [a, b, c] = [manifest(0xaa), manifest(0xbb), manifest(0xcc)]

const parse = (text: string): LayoutIndex.LayoutIndex => Result.getOrThrow(LayoutIndexText.parse(text))

const named = (descriptor: Descriptor.Descriptor, name: string, more: object = {}) => ({
  ...descriptor,
  annotations: { "org.opencontainers.image.ref.name": name, ...more }
})

/** Returns an index as crane writes it. */
const pretty = (...manifests: ReadonlyArray<object>) =>
  parse(JSON.stringify({ schemaVersion: 2, manifests, "com.example.more": [1] }, undefined, 3))

const entries = (index: LayoutIndex.LayoutIndex): ReadonlyArray<object> =>
  JSON.parse(LayoutIndexText.format(index)).manifests

const tagsOf = (index: LayoutIndex.LayoutIndex, after?: string) => Array.from(LayoutIndex.tags(index, after))

const resolve = (index: LayoutIndex.LayoutIndex, name: string) =>
  Result.getOrThrow(LayoutIndex.resolve(index, tag(name)))

describe("LayoutIndex", () => {
  describe("reads", () => {
    const broken: ReadonlyArray<readonly [text: string, problem: string]> = [
      ["", "it is not JSON"],
      [`{"manifests":[]`, "it is not JSON"],
      ["[]", "it is not a JSON object"],
      ["null", "it is not a JSON object"],
      [`{"manifests":{}}`, "its manifests are not a list"],
      [`{"manifests":"[]"}`, "its manifests are not a list"]
    ]
    it.each(broken)("no index in %s", (text, problem) => {
      assert.deepStrictEqual(LayoutIndexText.parse(text), Result.fail(problem))
    })

    it.each([`{"manifests":null}`, `{"schemaVersion":2}`, "{}", `{"manifests": [ ]}`])(
      "no manifests in %s",
      (text) => {
        assert.deepStrictEqual(LayoutIndex.roots(parse(text)), [])
        assert.deepStrictEqual(LayoutIndex.roots(LayoutIndex.add(parse(text), a)), [a])
      }
    )

    it("the last of two fields with the same name, like JSON.parse", () => {
      const text = `{"manifests":[${JSON.stringify(b)}],"manifests":[${JSON.stringify(named(a, "1"))}]}`
      assert.deepStrictEqual(resolve(parse(text), "1"), a)
      assert.strictEqual(LayoutIndexText.format(parse(text)), text)
    })

    it("an invalid entry, which is an error only if its tag is requested", () => {
      const index = pretty({ ...named(a, "bad"), digest: "sha256:12" }, named(b, "good"))
      assert.deepStrictEqual(resolve(index, "good"), b)
      assert.include(Result.getOrThrow(Result.flip(LayoutIndex.resolve(index, tag("bad")))), "digest")
      assert.deepStrictEqual(tagsOf(index), ["bad", "good"].map(tag))
    })
  })

  describe("names manifests", () => {
    it("by a tag", () => {
      assert.deepStrictEqual(resolve(pretty(named(a, "1")), "1"), a)
    })

    it.each(["docker.io/library/app:1", "127.0.0.1:5000/team/app:1", "app:1"])(
      "by the tag in a full reference: %s",
      (name) => {
        assert.deepStrictEqual(resolve(pretty(named(a, name)), "1"), a)
      }
    )

    it.each(["docker.io/library/app", `app@${a.digest}`, "not a name", "", "-1"])("by no tag in %j", (name) => {
      assert.deepStrictEqual(tagsOf(pretty(named(a, name))), [])
    })

    it("preferring a name that is the tag alone, in any position", () => {
      assert.deepStrictEqual(resolve(pretty(named(a, "docker.io/library/app:1"), named(b, "1")), "1"), b)
    })

    it("by the first of several entries of one manifest", () => {
      assert.deepStrictEqual(resolve(pretty(named(a, "1"), named(a, "1")), "1"), a)
    })

    it.each([["1", "1"], ["x.io/app:1", "y.io/app:1"]])("by no tag that is ambiguous: %s and %s", (one, other) => {
      const error = Result.getOrThrow(
        Result.flip(LayoutIndex.resolve(pretty(named(a, one), named(b, other)), tag("1")))
      )
      assert(typeof error !== "string")
      assert.deepStrictEqual(error.candidates, [{ digest: a.digest, name: one }, { digest: b.digest, name: other }])
      assert.strictEqual(
        error.message,
        `several images have the tag 1: ${one} (${a.digest}), ${other} (${b.digest})`
      )
    })

    it("not by other fields", () => {
      assert.isUndefined(resolve(pretty(named(a, "1"), b), "2"))
    })
  })

  describe("points a tag", () => {
    it("at a new manifest", () => {
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(b), tag("1"), a)), [b, named(a, "1")])
    })

    it("at a manifest that was listed without a tag, and keeps its other fields", () => {
      const described = { ...a, platform: { os: "linux" }, annotations: { "com.example": "x" } }
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(described, b), tag("1"), a)), [
        {
          ...a,
          platform: { os: "linux" },
          annotations: { "com.example": "x", "org.opencontainers.image.ref.name": "1" }
        },
        b
      ])
    })

    it("at a manifest with another tag, which stays", () => {
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(named(a, "1")), tag("2"), a)), [
        named(a, "1"),
        named(a, "2")
      ])
    })

    it("at another manifest, and the previous one stays listed", () => {
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(named(a, "1")), tag("1"), b)), [named(b, "1"), a])
    })

    it("at another manifest, and the previous one is not listed twice", () => {
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(named(a, "1"), named(a, "2")), tag("1"), b)), [
        named(b, "1"),
        named(a, "2")
      ])
    })

    it("at another manifest together with its full name, but no other annotation", () => {
      const name = "docker.io/library/app:1"
      const more = { "io.containerd.image.name": name, "org.opencontainers.image.created": "2026-01-01T00:00:00Z" }
      assert.deepStrictEqual(entries(LayoutIndex.point(pretty(named(a, name, more)), tag("1"), b)), [
        named(b, name, { "io.containerd.image.name": name }),
        { ...a, annotations: { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" } }
      ])
    })

    it("at the same manifest without a change", () => {
      const index = pretty(named(a, "1"))
      assert.strictEqual(LayoutIndex.point(index, tag("1"), a), index)
    })
  })

  describe("removes", () => {
    it("a tag from all entries that it names", () => {
      const index = LayoutIndex.withoutTag(pretty(named(a, "1"), named(b, "x.io/app:1"), named(c, "2")), tag("1"))
      assert.deepStrictEqual(entries(index), [a, b, named(c, "2")])
    })

    it("a tag, and lists its manifest once", () => {
      assert.deepStrictEqual(entries(LayoutIndex.withoutTag(pretty(named(a, "1"), named(a, "1")), tag("1"))), [a])
    })

    it("a manifest with its tags", () => {
      assert.deepStrictEqual(entries(LayoutIndex.without(pretty(named(a, "1"), b, named(a, "2")), a.digest)), [b])
    })

    it("entries of contained manifests only if they have no other fields", () => {
      const index = pretty(a, named(b, "1"), { ...c, platform: { os: "linux" } })
      const left = LayoutIndex.withoutChildren(index, new Set([a.digest, b.digest, c.digest]))
      assert.deepStrictEqual(entries(left), [named(b, "1"), { ...c, platform: { os: "linux" } }])
    })
  })

  it("lists a manifest once, with its latest type", () => {
    const index = LayoutIndex.add(LayoutIndex.add(pretty(named(a, "1")), a), { ...a, mediaType: "text/plain" })
    assert.deepStrictEqual(entries(index), [{ ...named(a, "1"), mediaType: "text/plain" }])
  })

  it("preserves every other byte", () => {
    const foreign = `{"digest" : "${b.digest}", "mediaType":"application/x", "size": 1e2 ,"x":{"\\u0041":[1.0, "]}"]}}`
    const text = `{ "manifests":\t[\n  ${foreign} ,\n  {"broken": true}\n], "schemaVersion": 2.0, "z": "é" }\n`
    const index = LayoutIndex.point(LayoutIndex.add(parse(text), a), tag("1"), c)
    assert.strictEqual(
      LayoutIndexText.format(index),
      text.replace("true}", `true},\n  ${JSON.stringify(a)},\n  ${JSON.stringify(named(c, "1"))}`)
    )
  })

  // -- generated ------------------------------------------------------------------------------------------------------

  const Value = Schema.Json
  const Space = Schema.Literals(["", " ", "\n", "\t", "\r\n  "])

  /** Formats JSON with random space. */
  const write = (value: Schema.Json, space: string): string => {
    const list = (open: string, items: ReadonlyArray<string>, close: string) =>
      open + space + items.join(`${space},${space}`) + space + close
    if (Array.isArray(value)) return list("[", value.map((item: Schema.Json) => write(item, space)), "]")
    if (typeof value === "object" && value !== null) {
      return list(
        "{",
        Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}${space}:${space}${write(item, space)}`),
        "}"
      )
    }
    return JSON.stringify(value)
  }

  it.prop(
    "preserves any index to the byte",
    [Schema.Record(Schema.String, Value), Schema.Array(Value), Space],
    ([fields, manifests, space]) => {
      const text = space + write({ ...fields, manifests }, space) + space
      const index = parse(text)
      assert.strictEqual(LayoutIndexText.format(index), text)
      assert.deepStrictEqual(
        Array.from(SortedMap.entries(index.entries), ([, { text }]): unknown => JSON.parse(text)),
        JSON.parse(text).manifests
      )
    }
  )

  it.prop("reads any string, or fails with a description of the problem", [Schema.String], ([text]) => {
    assert.isTrue(Result.isResult(LayoutIndexText.parse(text)))
  })

  const Step = Schema.Struct({
    kind: Schema.Literals(["add", "point", "withoutTag", "without"]),
    manifest: Schema.Literals([0, 1, 2]),
    tag: Schema.Literals(["1", "2", "3"])
  })

  it.prop(
    "behaves like a map of tags and a set of manifests",
    [Schema.Array(Step), Space],
    ([steps, space]) => {
      const manifests = [a, b, c]
      const foreign = { "x": [1, "}"], "digest": 7 }
      let index = parse(write({ manifests: [foreign, { more: null }] }, space))
      const tags = new Map<string, Descriptor.Descriptor>()
      const listed = new Set<Descriptor.Descriptor>()
      for (const step of steps) {
        const manifest = manifests[step.manifest] ?? a
        switch (step.kind) {
          case "add":
            index = LayoutIndex.add(index, manifest)
            listed.add(manifest)
            break
          case "point":
            index = LayoutIndex.point(index, tag(step.tag), manifest)
            listed.add(manifest)
            tags.set(step.tag, manifest)
            break
          case "withoutTag":
            index = LayoutIndex.withoutTag(index, tag(step.tag))
            tags.delete(step.tag)
            break
          case "without":
            index = LayoutIndex.without(index, manifest.digest)
            listed.delete(manifest)
            for (const [tag, named] of tags) if (named === manifest) tags.delete(tag)
        }
      }
      const read = parse(LayoutIndexText.format(index))
      assert.deepStrictEqual(tagsOf(read), [...tags.keys()].sort().map(tag))
      for (const [name, manifest] of tags) assert.deepStrictEqual(resolve(read, name), manifest)
      assert.sameDeepMembers([...LayoutIndex.roots(read)], [...listed])
      const untagged = [...listed].filter((manifest) => ![...tags.values()].includes(manifest))
      assert.lengthOf(entries(read), 2 + tags.size + untagged.length)
      assert.deepStrictEqual(entries(read).slice(0, 2), [foreign, { more: null }])
    }
  )
})
