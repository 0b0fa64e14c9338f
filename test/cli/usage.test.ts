import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { run, runWith } from "../utils/Command.ts"
import * as Program from "../utils/Program.ts"

const digest = `sha256:${"a".repeat(64)}`
const app = "a.test/b:1"
const somewhere = "127.0.0.1:1/mirror/app:1"

describe("misuse is one clear line on stderr, and exit code 2", () => {
  const table: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
    [[], "what is to be done is missing (see effect-oci --help)"],
    [["kopy"], "there is no verb \"kopy\"; did you mean copy? (see effect-oci --help)"],
    [["tgas"], "there is no verb \"tgas\"; did you mean tags or tag?"],
    [["nothing-like-it"], "there is no verb \"nothing-like-it\" (see"],
    [["--jsn", "copy"], "there is no flag --jsn"],
    [["manifest"], "what is to be done is missing (see effect-oci manifest --help)"],
    [["manifest", "gett", app], "there is no verb \"gett\"; did you mean get?"],
    [["blob", "heads"], "there is no verb \"heads\"; did you mean head?"],

    [["copy"], "the argument SOURCE is missing (see effect-oci copy --help)"],
    [["copy", app], "the argument DESTINATION is missing"],
    [["copy", "--bogus", app, somewhere], "there is no flag --bogus (see effect-oci copy --help)"],
    [["copy", "--plain-htp=vm", app, somewhere], "there is no flag --plain-htp; did you mean --plain-http?"],
    [["copy", "--referrer", "skip", app, somewhere], "there is no flag --referrer; did you mean --referrers?"],
    [
      ["copy", "a.test/B:1", somewhere],
      "invalid reference \"a.test/B:1\": repository: upper-case letter \"B\" (character 8)"
    ],
    [["copy", app, "a.test:99999/b"], "registry: the port is not a number from 1 to 65535 (character 8)"],
    [["copy", "a.test/b@sha256:12", somewhere], "digest: expected 64 hexadecimal digits after sha256, found 2"],
    [["copy", "a".repeat(250), somewhere], "repository: it has 258 characters, 255 are allowed"],
    [["copy", "ada:hunter2@a.test/b", somewhere], "invalid reference \"…@a.test/b\""],
    [["copy", app, "docker-archive:f.tar"], "what docker save writes can only be read"],
    [
      ["copy", app, somewhere, "--platform", "linux"],
      "--platform: invalid platform \"linux\": expected os/architecture"
    ],
    [["copy", app, somewhere, "--platform=linux/a", "--platform=linux/b"], "several --platform need --index"],
    [["copy", app, somewhere, "--index", "keep"], "--index needs a --platform"],
    [["copy", app, somewhere, "--index", "drop"], "--index: \"drop\": "],
    [["copy", app, somewhere, "--index", "keep", "--index", "fail"], "--index is there more than once"],
    [["copy", app, somewhere, "--tag", "-x"], "--tag needs a value"],
    [["copy", app, somewhere, "--tag=a/b"], "--tag: \"a/b\" is not a tag: character \"/\" is not allowed"],
    [["copy", app, somewhere, "--tag=a@b"], "--tag: \"a@b\" is not a tag: "],
    [["copy", app, somewhere, "--if-tag-exists", "ask"], "--if-tag-exists: \"ask\": "],
    [["copy", app, somewhere, "--referrer-annotation", "x"], "--referrer-annotation: \"x\" is not KEY=VALUE"],
    [["copy", app, somewhere, "--referrers", "skip", "--referrer-type", "x"], "--referrers skip and a choice of"],
    [["copy", app, somewhere, "--latest", "1"], "choose among --all-tags"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--tag=1"], "--tag is for one image"],
    [["copy", "--all-tags", app, "c.test/d"], "source and destination are repositories"],
    [["copy", "--all-tags", "a.test/b", "c.test/d:1"], "source and destination are repositories"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--include", "("], "--include: \"(\" is not a regular expression"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--semver", "newest"], "--semver: Invalid SemVer range \"newest\""],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--latest", "0"], "--latest: \"0\" is not a number from 1 on"],
    [["copy", app, somewhere, "--verify", "all"], "--verify: \"all\": "],

    [["copy", app, somewhere, "--plain-http", "vm"], "--plain-http: \"vm\" is not a host, with its port if it has one"],
    [
      ["copy", app, somewhere, "--plain-http=vm:1", "--tls=vm:1"],
      "--plain-http and --tls contradict each other for vm:1"
    ],
    [["copy", app, somewhere, "--username", "ada"], "there is no flag --username"],
    [["copy", app, somewhere, "--from-username", "ada"], "use --from-password-stdin or --from-password-file"],
    [["copy", app, somewhere, "--to-password-stdin"], "a password needs a name: --to-username"],
    [
      ["copy", app, somewhere, "--from-username=a", "--from-password-stdin", "--to-username=b", "--to-password-stdin"],
      "stdin has one password only: use --from-password-file or --to-password-file for the other"
    ],
    [
      ["copy", app, "a.test/b:2", "--from-username=a", "--to-username=b", "--to-password-file=x"],
      "--from-username and --to-username are for the same repository"
    ],
    [
      ["copy", app, somewhere, "c.test/d", "--to-username=b", "--to-password-file=x"],
      "--to-username is for one registry, and there are 127.0.0.1:1 and c.test: use effect-oci login"
    ],
    [
      ["copy", "oci:dir:1", somewhere, "--from-username=a", "--from-password-file=x"],
      "--from-username is for a registry, which \"oci:dir:1\" is not"
    ],
    [["tags", "a.test/b", "--username", "ada"], "cannot prompt for a password without a terminal"],
    [
      ["diff", app, "c.test/b:1", "--username=a", "--password-file=x"],
      "for one registry, and there are a.test and c.test"
    ],
    [["serve", "--username=a", "--password-file=x"], "--username is for a registry"],
    [["blob", "put", "a.test/b", "-", "--username=a", "--password-stdin"], "stdin has the content already"],
    [["copy", app, somewhere, "--insecure", "http://vm:1"], "--insecure: \"http://vm:1\" is not a host"],
    [["copy", app, somewhere, "--concurrency", "0"], "--concurrency: \"0\" is not a number from 1 on"],
    [["copy", app, somewhere, "--concurrency", "many"], "--concurrency: \"many\" is not a number from 1 on"],
    [["copy", app, somewhere, "--mirror", "docker.io"], "--mirror: \"docker.io\" is not HOST=MIRROR"],
    [["copy", app, somewhere, "--capabilities", "vm:1"], "--capabilities: \"vm:1\" is not HOST,NAME=VALUE"],
    [["copy", app, somewhere, "--capabilities", "vm:1,speed=1"], "--capabilities: \"vm:1,speed=1\" is not HOST"],
    [["copy", app, somewhere, "--capabilities", "vm:1,chunks=20MB"], "--capabilities: \"vm:1,chunks=20MB\" is not"],
    [
      ["copy", app, somewhere, "--capabilities", "vm:1,maximumChunk=0"],
      "--capabilities: \"vm:1,maximumChunk=0\" is not"
    ],
    [
      ["copy", app, somewhere, "--capabilities", "http://vm,chunks=false"],
      "--capabilities: \"http://vm\" is not a host"
    ],
    [["copy", app, somewhere, "--cert-file", "c.pem"], "--cert-file and --key-file belong together"],

    [["plan", app], "the argument DESTINATION is missing"],
    [["plan", app, somewhere, "--dry-run"], "there is no flag --dry-run"],
    [["resolve"], "the argument IMAGE is missing"],
    [["resolve", app, "more"], "nothing is expected behind the other arguments: \"more\""],
    [["tags", app], "a repository has neither tag nor digest"],
    [["tags", "a.test/b", "--semver", "x.y.z.w"], "--semver: "],
    [["catalog"], "the argument HOST is missing"],
    [["catalog", "a.test/b"], "\"a.test/b\" is not a host"],
    [["tree", app, "--json", "--mermaid"], "--json and --mermaid contradict each other"],
    [["referrers"], "the argument IMAGE is missing"],
    [["diff", app], "the argument RIGHT is missing"],
    [["tag", app], "the argument TAG is missing"],
    [["tag", app, "a:b"], "\"a:b\" is not a tag"],
    [["delete", "a.test/b"], "a.test/b: name a tag, to remove it, or a digest"],
    [["manifest", "get"], "the argument IMAGE is missing"],
    [["manifest", "put", app], "the argument FILE is missing"],
    [["manifest", "delete", app], "a manifest is deleted by its digest alone"],
    [["blob", "get", app], "a blob has no tag"],
    [["blob", "get", "a.test/b"], "a blob needs a digest"],
    [["blob", "get", `a.test/b@${digest}`, "--json"], "--json needs --output FILE"],
    [["blob", "put", "a.test/b"], "the argument FILE is missing"],
    [["blob", "head", app], "a blob has no tag"],
    [["blob", "delete", app], "a blob has no tag"],
    [["login"], "the argument HOST is missing"],
    [["login", "a.test"], "the flag --username is missing"],
    [["login", "a.test", "-u", "ada"], "cannot prompt for a password without a terminal: use --password-stdin"],
    [["login", "a.test", "-u", "ada", "--password-stdin"], "the password in stdin is empty"],
    [["login", "a.test", "-u", "ada", "--password-stdin", "--password-file=x"], "contradict each other"],
    [["login", "https://a.test", "-u", "ada"], "\"https://a.test\" is not a host"],
    [["logout"], "the argument HOST is missing"],
    [["completions"], "the argument SHELL is missing"],
    [["completions", "tcsh"], "SHELL: \"tcsh\": "]
  ]
  it.live.each(table)("effect-oci %j", ([args, says]) =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run(...args)
      assert.include(stderr, says)
      assert.match(stderr, /^effect-oci: [^\n]+\n$/)
      assert.deepStrictEqual([code, stdout], [2, ""])
    }))

  it.live("of the process", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Program.run("copy", app, "--bogus")
      assert.deepStrictEqual([code, stdout, stderr], [
        2,
        "",
        "effect-oci: there is no flag --bogus (see effect-oci copy --help)\n"
      ])
    }))

  it.live("says nothing that a terminal would obey", () =>
    Effect.gen(function*() {
      const { stderr } = yield* run("copy", "a.test/b:\u001b[2J\u009b1m\u202e", somewhere)
      // oxlint-disable-next-line no-control-regex -- none of them may be there
      assert.notMatch(stderr, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
    }))
})

describe("output that nobody takes", () => {
  const shell = (script: string) =>
    Effect.callback<{ readonly code: number | null; readonly stderr: string }>((resume) => {
      const child = ChildProcess.spawn("sh", ["-c", script], { stdio: ["ignore", "ignore", "pipe"] })
      let stderr = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text))
      child.once("close", (code) => resume(Effect.succeed({ code, stderr })))
    })
  const command = `"${process.execPath}" "${Program.main}"`

  it.live.skipIf(!Fs.existsSync("/dev/full"))("is an error when it is the result", () =>
    Effect.gen(function*() {
      for (const args of ["--version", "copy --help", "completions bash"]) {
        const { code, stderr } = yield* shell(`${command} ${args} > /dev/full`)
        assert.strictEqual(code, 1)
        assert.match(stderr, /^effect-oci: the result could not be written: [^\n]+\n$/)
      }
    }))

  it.live("is none when the reader has gone", () =>
    Effect.gen(function*() {
      for (const args of ["copy --help", "completions bash"]) {
        const { stderr } = yield* shell(`{ ${command} ${args}; echo $? >&2; } | head -c 1`)
        assert.strictEqual(stderr, "0\n")
      }
    }))
})

describe("help", () => {
  const verbs: ReadonlyArray<string> = [
    "",
    "copy",
    "plan",
    "resolve",
    "tags",
    "catalog",
    "tree",
    "referrers",
    "diff",
    "manifest",
    "manifest get",
    "manifest put",
    "manifest inspect",
    "manifest delete",
    "blob",
    "blob get",
    "blob put",
    "blob head",
    "blob delete",
    "tag",
    "delete",
    "serve",
    "login",
    "logout",
    "completions"
  ]
  const wordsOf = (verb: string) => verb.split(" ").filter((word) => word !== "")

  it.live("of each verb is that of its snapshot", ({ expect }) =>
    Effect.gen(function*() {
      for (const words of verbs.map(wordsOf)) {
        const { code, stderr, stdout } = yield* run(...words, "--help")
        assert.deepStrictEqual([code, stderr], [0, ""])
        const file = fileURLToPath(new URL(`help/${["effect-oci", ...words].join("-")}.txt`, import.meta.url))
        yield* Effect.promise(() => expect(stdout).toMatchFileSnapshot(file))
      }
    }))

  it.live("names every verb in a snapshot", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("--help")
      const [, ...sections] = stdout.split(/^(?=[A-Z][A-Z ]+$)/m)
      const listed = sections.filter((section) => !/^(?:USAGE|FLAGS|EXAMPLES)/.test(section))
        .flatMap((section) => Array.from(section.matchAll(/^ {2}([a-z]+)/gm), ([, verb]) => verb))
      assert.deepStrictEqual(new Set(listed), new Set(verbs.flatMap((verb) => wordsOf(verb).slice(0, 1))))
    }))

  it.live.each(verbs.slice(1))("of effect-oci %s has examples that make sense", (verb) =>
    Effect.gen(function*() {
      const { stdout } = yield* run(...wordsOf(verb), "--help")
      const [, examples = ""] = stdout.split("\nEXAMPLES\n")
      // flags about connections are read last: nothing else is wrong where they are
      const isConnecting = stdout.includes("--concurrency")
      for (const [, line = ""] of examples.matchAll(/(?<=^| )effect-oci ((?:"[^"]*"|[^"|>\n])+)/gm)) {
        const args = Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, word]) => quoted ?? word ?? "")
        if (args.some((arg) => arg.includes("$("))) continue
        const { stderr } = yield* run(...args, ...isConnecting ? ["--concurrency", "0"] : ["--bogus"])
        assert.match(
          stderr,
          /^effect-oci: (?:--concurrency: "0"|the flag --username is missing|there is no flag --bogus)/,
          line
        )
      }
    }))

  it.live("is as wide as the terminal", () =>
    Effect.gen(function*() {
      const { stdout } = yield* runWith({ columns: 60 }, "tags", "--help")
      const lines = stdout.split("\nEXAMPLES")[0]?.split("\n") ?? []
      assert.isAtMost(Math.max(...lines.map(({ length }) => length)), 60)
    }))

  it.live("the version is that of the package", () =>
    Effect.gen(function*() {
      const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      for (
        const { stdout } of [yield* run("--version"), yield* run("copy", "--version"), yield* Program.run("--version")]
      ) {
        assert.strictEqual(stdout, `effect-oci v${version}\n`)
      }
    }))
})
