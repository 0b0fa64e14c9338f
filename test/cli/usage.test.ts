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
    [[], "missing verb (see effect-oci --help)"],
    [["kopy"], "unknown verb \"kopy\"; did you mean copy? (see effect-oci --help)"],
    [["tgas"], "unknown verb \"tgas\"; did you mean tags or tag?"],
    [["nothing-like-it"], "unknown verb \"nothing-like-it\" (see"],
    [["--jsn", "copy"], "unknown flag --jsn"],
    [["manifest"], "missing verb (see effect-oci manifest --help)"],
    [["manifest", "gett", app], "unknown verb \"gett\"; did you mean get?"],
    [["mirror", "bundle"], "missing verb (see effect-oci mirror bundle --help)"],
    [["mirror", "bundle", "exprt"], "unknown verb \"exprt\"; did you mean export?"],
    [["blob", "heads"], "unknown verb \"heads\"; did you mean head?"],

    [["push"], "missing argument REFERENCE (see effect-oci push --help)"],
    [["push", app, ":text/plain"], "\":text/plain\" names no file"],
    [["push", app, "-"], "the file - requires --stdin-name and --stdin-type"],
    [["push", app, "-", "-", "--stdin-name=a", "--stdin-type=text/plain"], "stdin can be read only once"],
    [["push", app, "a", "--stdin-name=b"], "--stdin-name and --stdin-type require the file -"],
    [["push", app, "--config=-"], "--config cannot read stdin"],
    [["push", app, "--annotation", "a"], "--annotation: \"a\" is not KEY=VALUE"],
    [
      ["push", app, "-", "--stdin-name=a", "--stdin-type=a/b", "--username=ada", "--password-stdin"],
      "stdin has the content: use --password-file"
    ],
    [["attach", app, "a"], "missing flag --artifact-type"],
    [["attach", app, "--artifact-type=a/b"], "there is nothing to attach: name a file, or use --annotation"],
    [["pull"], "missing argument REFERENCE"],
    [["index", "create", app], "missing argument IMAGE"],
    [["index", "create", app, ":a/b"], "\"a/b\" is not a tag"],
    [["index", "create", app, "@sha256:1"], "digest"],
    [["index", "remove", app, "linux"], "invalid platform \"linux\""],
    [["index", "annotate", app], "there is nothing to change: use --annotation or --remove-annotation"],
    [["tree", app, "--no-referrers", "--artifact-type=a/b"], "--no-referrers contradicts --artifact-type"],
    [["copy"], "missing argument SOURCE (see effect-oci copy --help)"],
    [["copy", app], "missing argument DESTINATION"],
    [["copy", "--bogus", app, somewhere], "unknown flag --bogus (see effect-oci copy --help)"],
    [["copy", "--plain-htp=vm", app, somewhere], "unknown flag --plain-htp; did you mean --plain-http?"],
    [["copy", "--referrer", "skip", app, somewhere], "unknown flag --referrer; did you mean --referrers?"],
    [
      ["copy", "a.test/B:1", somewhere],
      "invalid reference \"a.test/B:1\": repository: upper-case letter \"B\" (character 8)"
    ],
    [["copy", app, "a.test:99999/b"], "registry: the port is not a number from 1 to 65535 (character 8)"],
    [["copy", "a.test/b@sha256:12", somewhere], "digest: expected 64 hexadecimal digits after sha256, found 2"],
    [["copy", "a".repeat(250), somewhere], "repository: it has 258 characters, 255 are allowed"],
    [["copy", "ada:hunter2@a.test/b", somewhere], "invalid reference \"…@a.test/b\""],
    [["copy", "docker-archive:-", app], "an archive is not read from stdin"],
    [["copy", "oci-archive:-:1", app], "an archive is not read from stdin"],
    [["copy", "--json", app, "docker-archive:-"], "--json prints to stdout, which gets the archive"],
    [["copy", app, "docker-archive:-", "oci-archive:-"], "only one archive can be written to stdout"],
    [["tag", "docker-archive:f.tar", "2"], "name the image, such as docker-archive:FILE:team/app:1"],
    [
      ["copy", app, somewhere, "--platform", "linux"],
      "--platform: invalid platform \"linux\": expected os/architecture"
    ],
    [
      ["copy", app, somewhere, "--platform=linux/a", "--platform=linux/b"],
      "several --platform require --index keep, rewrite or fail"
    ],
    [["copy", app, somewhere, "--index", "keep"], "--index requires --platform"],
    [["copy", app, somewhere, "--index", "drop"], "--index: \"drop\": "],
    [["copy", app, somewhere, "--index", "keep", "--index", "fail"], "--index is given more than once"],
    [["copy", app, somewhere, "--tag", "-x"], "--tag requires a value"],
    [["copy", app, somewhere, "--tag=a/b"], "--tag: \"a/b\" is not a tag: character \"/\" is not allowed"],
    [["copy", app, somewhere, "--tag=a@b"], "--tag: \"a@b\" is not a tag: "],
    [["copy", app, somewhere, "--if-tag-exists", "ask"], "--if-tag-exists: \"ask\": "],
    [["copy", app, somewhere, "--referrer-annotation", "x"], "--referrer-annotation: \"x\" is not KEY=VALUE"],
    [
      ["copy", app, somewhere, "--referrers", "skip", "--referrer-type", "x"],
      "--referrers skip contradicts --referrer-type"
    ],
    [["copy", app, somewhere, "--latest", "1"], "--latest require --all-tags"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--tag=1"], "--tag and --all-tags contradict each other"],
    [["copy", "--all-tags", app, "c.test/d"], "source and destination are repositories"],
    [["copy", "--all-tags", "a.test/b", "c.test/d:1"], "source and destination are repositories"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--include", "("], "--include: \"(\" is not a regular expression"],
    [["copy", "--all-tags", "a.test/b", "c.test/d", "--semver", "newest"], "--semver: Invalid SemVer range \"newest\""],
    [
      ["copy", "--all-tags", "a.test/b", "c.test/d", "--latest", "0"],
      "--latest: \"0\" is not a number from 1 to 999999999"
    ],
    [["copy", app, somewhere, "--verify", "all"], "--verify: \"all\": "],

    [["copy", app, somewhere, "--plain-http", "vm"], "--plain-http: \"vm\" is not a host, with its port if it has one"],
    [
      ["copy", app, somewhere, "--plain-http=vm:1", "--tls=vm:1"],
      "--plain-http and --tls contradict each other for vm:1"
    ],
    [["copy", app, somewhere, "--username", "ada"], "unknown flag --username"],
    [["copy", app, somewhere, "--from-username", "ada"], "use --from-password-stdin or --from-password-file"],
    [["copy", app, somewhere, "--to-password-stdin"], "a password requires --to-username"],
    [
      ["copy", app, somewhere, "--from-username=a", "--from-password-stdin", "--to-username=b", "--to-password-stdin"],
      "stdin has only one password: use --from-password-file or --to-password-file for the other"
    ],
    [
      ["copy", app, "a.test/b:2", "--from-username=a", "--to-username=b", "--to-password-file=x"],
      "--from-username and --to-username are for the same repository"
    ],
    [
      ["copy", app, somewhere, "c.test/d", "--to-username=b", "--to-password-file=x"],
      "--to-username is for one registry, but there are 127.0.0.1:1 and c.test: use effect-oci login"
    ],
    [
      ["copy", "oci:dir:1", somewhere, "--from-username=a", "--from-password-file=x"],
      "--from-username requires a registry, and \"oci:dir:1\" is none"
    ],
    [["tags", "a.test/b", "--username", "ada"], "cannot prompt for a password without a terminal"],
    [
      ["diff", app, "c.test/b:1", "--username=a", "--password-file=x"],
      "for one registry, but there are a.test and c.test"
    ],
    [["serve", "--username=a", "--password-file=x"], "--username requires a registry"],
    [
      ["blob", "put", "a.test/b", "-", "--username=a", "--password-stdin"],
      "stdin has the content: use --password-file"
    ],
    [["copy", app, somewhere, "--insecure", "http://vm:1"], "--insecure: \"http://vm:1\" is not a host"],
    [["copy", app, somewhere, "--concurrency", "0"], "--concurrency: \"0\" is not a number from 1 to 999999999"],
    [["copy", app, somewhere, "--concurrency", "many"], "--concurrency: \"many\" is not a number from 1 to 999999999"],
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
    [["copy", app, somewhere, "--cert-file", "c.pem"], "--cert-file and --key-file require each other"],

    [["plan", app], "missing argument DESTINATION"],
    [["plan", app, somewhere, "--dry-run"], "unknown flag --dry-run"],
    [["resolve"], "missing argument IMAGE"],
    [["blob", "head", app, "more"], "unexpected arguments: \"more\""],
    [["tags", app], "a repository has neither tag nor digest"],
    [["tags", "a.test/b", "--semver", "x.y.z.w"], "--semver: "],
    [["catalog"], "missing argument HOST"],
    [["catalog", "a.test/b"], "\"a.test/b\" is not a host"],
    [["tree", app, "--json", "--mermaid"], "--json and --mermaid contradict each other"],
    [["referrers"], "missing argument IMAGE"],
    [["diff", app], "missing argument RIGHT"],
    [["tag", app], "missing argument TAG"],
    [["tag", app, "a:b"], "\"a:b\" is not a tag"],
    [["delete", "a.test/b"], "a.test/b: name a tag to delete the tag, or a digest"],
    [["manifest", "get"], "missing argument IMAGE"],
    [["manifest", "put", app], "missing argument FILE"],
    [["manifest", "delete", app], "a manifest is deleted by its digest alone"],
    [["blob", "get", app], "a blob has no tag"],
    [["blob", "get", "a.test/b"], "a blob needs a digest"],
    [["blob", "get", `a.test/b@${digest}`, "--json"], "--json requires --output FILE"],
    [["blob", "put", "a.test/b"], "missing argument FILE"],
    [["blob", "head", app], "a blob has no tag"],
    [["blob", "delete", app], "a blob has no tag"],
    [["login"], "missing argument HOST"],
    [["login", "a.test"], "missing flag --username"],
    [["login", "a.test", "-u", "ada"], "cannot prompt for a password without a terminal: use --password-stdin"],
    [["login", "a.test", "-u", "ada", "--password-stdin"], "the password in stdin is empty"],
    [["login", "a.test", "-u", "ada", "--password-stdin", "--password-file=x"], "contradict each other"],
    [["login", "https://a.test", "-u", "ada"], "\"https://a.test\" is not a host"],
    [["logout"], "missing argument HOST"],
    [["tags", "a.test/b", "--quiet", "--debug"], "--quiet and --debug contradict each other"],
    [["schema", "nope"], "unknown document \"nope\": use one of append, attach, blob-delete, "],
    [["completions"], "missing argument SHELL"],
    [["completions", "tcsh"], "SHELL: \"tcsh\": "]
  ]
  it.live.each(table)("effect-oci %j", ([args, says]) =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run(...args)
      assert.include(stderr, says)
      assert.match(stderr, /^(?:effect-oci: [^\n]+|\{"type":"error",[^\n]+\})\n$/)
      assert.deepStrictEqual([code, stdout], [2, ""])
    }))

  it.live("of the process", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Program.run("copy", app, "--bogus")
      assert.deepStrictEqual([code, stdout, stderr], [
        2,
        "",
        "effect-oci: unknown flag --bogus (see effect-oci copy --help)\n"
      ])
    }))

  it.live("contains no control characters", () =>
    Effect.gen(function*() {
      const { stderr } = yield* run("copy", "a.test/b:\u001b[2J\u009b1m\u202e", somewhere)
      // oxlint-disable-next-line no-control-regex -- the test looks for them
      assert.notMatch(stderr, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
    }))
})

describe("output that cannot be written", () => {
  const shell = (script: string) =>
    Effect.callback<{ readonly code: number | null; readonly stderr: string }>((resume) => {
      const child = ChildProcess.spawn("sh", ["-c", script], { stdio: ["ignore", "ignore", "pipe"] })
      let stderr = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text))
      child.once("close", (code) => resume(Effect.succeed({ code, stderr })))
    })

  it.live.skipIf(!Fs.existsSync("/dev/full"))("is an error if it is the result", () =>
    Effect.gen(function*() {
      for (const args of ["--version", "copy --help", "completions bash"]) {
        const { code, stderr } = yield* shell(`${Program.shellCommand} ${args} > /dev/full`)
        assert.strictEqual(code, 1)
        assert.match(stderr, /^effect-oci: cannot write the result: [^\n]+\n$/)
      }
    }))

  it.live("is not an error if the reader has gone", () =>
    Effect.gen(function*() {
      for (const args of ["copy --help", "completions bash"]) {
        const { stderr } = yield* shell(`{ ${Program.shellCommand} ${args}; echo $? >&2; } | head -c 1`)
        assert.strictEqual(stderr, "0\n")
      }
    }))
})

describe("help", () => {
  const verbs: ReadonlyArray<string> = [
    "",
    "copy",
    "plan",
    "mirror",
    "mirror bundle",
    "mirror bundle export",
    "mirror bundle import",
    "mirror bundle inventory",
    "mirror check",
    "mirror convert",
    "mirror plan",
    "mirror drain",
    "mirror retry",
    "mirror run",
    "mirror serve",
    "mirror state",
    "mirror state copy",
    "mirror status",
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
    "push",
    "attach",
    "pull",
    "config",
    "files",
    "files ls",
    "files cat",
    "files export",
    "validate",
    "append",
    "mutate",
    "rebase",
    "tag",
    "index",
    "index create",
    "index add",
    "index remove",
    "index annotate",
    "delete",
    "serve",
    "gc",
    "login",
    "logout",
    "schema",
    "completions"
  ]
  const wordsOf = (verb: string) => verb.split(" ").filter((word) => word !== "")

  it.live("of each verb matches its snapshot", ({ expect }) =>
    Effect.gen(function*() {
      for (const words of verbs.map(wordsOf)) {
        const { code, stderr, stdout } = yield* run(...words, "--help")
        assert.deepStrictEqual([code, stderr], [0, ""])
        const file = fileURLToPath(new URL(`help/${["effect-oci", ...words].join("-")}.txt`, import.meta.url))
        yield* Effect.promise(() => expect(stdout).toMatchFileSnapshot(file))
      }
    }))

  it.live("lists every verb that has a snapshot", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("--help")
      const [, ...sections] = stdout.split(/^(?=[A-Z][A-Z ]+$)/m)
      const listed = sections.filter((section) =>
        !/^(?:USAGE|FLAGS|CREDENTIAL FLAGS|CONNECTION FLAGS|EXAMPLES)/.test(section)
      )
        .flatMap((section) => Array.from(section.matchAll(/^ {2}([a-z]+)/gm), ([, verb]) => verb))
      assert.deepStrictEqual(new Set(listed), new Set(verbs.flatMap((verb) => wordsOf(verb).slice(0, 1))))
    }))

  it.live.each(verbs.slice(1))("of effect-oci %s has valid examples", (verb) =>
    Effect.gen(function*() {
      const { stdout } = yield* run(...wordsOf(verb), "--help")
      const [, examples = ""] = stdout.split("\nEXAMPLES\n")
      // the parser reads connection flags last, so that an error about one of them means that all else is valid
      const isConnecting = stdout.includes("--concurrency")
      for (const [, line = ""] of examples.matchAll(/(?<=^| )effect-oci ((?:"[^"]*"|[^"|>\n])+)/gm)) {
        const args = Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, word]) => quoted ?? word ?? "")
        if (args.some((arg) => arg.includes("$("))) continue
        const { stderr } = yield* run(...args, ...isConnecting ? ["--concurrency", "0"] : ["--bogus"])
        assert.match(
          stderr,
          /^(?:effect-oci: |\{"type":"error","message":")(?:--concurrency: \\?"0\\?"|missing flag --username|unknown flag --bogus)/,
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

  it.live("--version prints the version of the package", () =>
    Effect.gen(function*() {
      const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      for (
        const { stdout } of [yield* run("--version"), yield* run("copy", "--version"), yield* Program.run("--version")]
      ) {
        assert.strictEqual(stdout, `effect-oci v${version}\n`)
      }
    }))
})
