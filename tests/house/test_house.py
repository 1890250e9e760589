"""Rules of the house that a compiler or a reader could break: walls between rooms, the one gate to secrets, the size of
main, a manual page and a completion for every command, and examples that run."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))
from harness import KEY, PROGRAM, SystemTest, Vault  # noqa: E402

BUILD = pathlib.Path(os.environ.get("AGENTVAULT_BUILD", ROOT / "build/release"))

# What each room may include: the rooms under it. base is under all.
ROOMS = {
    "base": set(), "tpm": {"base"}, "store": {"base"}, "net": {"base"}, "keys": {"base", "store", "tpm"}, "http": {"base"},
    "token": {"base", "http"}, "policy": {"base", "http", "net"}, "provider": {"base", "http", "net", "policy"}, "audit": {"base"},
    "scrub": {"base", "http"}, "budget": {"base", "http", "net", "policy", "provider"},
    "broker": {"base", "http", "net", "token", "policy", "provider", "audit", "scrub", "budget"}, "sandbox": {"base"},
}
HEADERS = {"base": "error", "tpm": "tpm", "store": "database", "net": "reactor", "keys": "vault", "http": "head",
           "token": "token", "policy": "rule", "provider": "preset", "audit": "segment", "scrub": "scrubber", "budget": "ledger", "broker": "broker", "sandbox": "cell", "session": "exec"}

# Every file that looks at a secret. Whoever adds one explains it in review.
GATE = {
    "cli/credential_check.cpp", "cli/taken_keys.cpp", "cli/terminal.cpp", "libvault/base/crypto.cpp", "libvault/base/p256.cpp",
    "libvault/base/secret_bytes.cpp", "libvault/base/secret_bytes.hpp", "libvault/broker/exchange.cpp",
    "libvault/broker/inject.cpp", "libvault/budget/ledger.cpp", "libvault/net/network.cpp",
    "libvault/net/outer_proxy.cpp", "libvault/net/stream.cpp", "libvault/provider/preset.cpp", "libvault/keys/credential_box.cpp", "libvault/keys/manifest.cpp",
    "libvault/scrub/needles.cpp", "libvault/scrub/secret_forms.cpp", "libvault/keys/master_key.cpp", "libvault/keys/stage.cpp", "libvault/keys/recovery.cpp", "libvault/session/announcement.cpp", "libvault/session/opener.cpp",
    "libvault/token/token.cpp", "tpm/embedded.cpp", "tpm/owner.cpp", "tpm/sealed_key.cpp",
}


def sources():
    for folder in ("cli", "libvault", "tpm"):
        yield from sorted((ROOT / folder).rglob("*.[ch]pp"))


class WallsTest(unittest.TestCase):
    def compile(self, room, include):
        commands = json.loads((BUILD / "compile_commands.json").read_text())
        entry = next(e for e in commands if f"/av_{room}.dir/" in e["command"])
        words = [w for w in entry["command"].split() if w.startswith(("-I", "-isystem", "-std", "-D", "/usr/include"))]
        with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
            file.write(f'#include "{include}"\n')
            file.flush()
            return subprocess.run(["c++", *words, "-fsyntax-only", file.name], capture_output=True, text=True)

    def test_an_include_that_points_upwards_does_not_compile(self):
        for room, allowed in ROOMS.items():
            for other, header in HEADERS.items():
                if other == room:
                    continue
                done = self.compile(room, f"{other}/{header}.hpp")
                if other in allowed:
                    self.assertEqual(done.returncode, 0, f"{room} -> {other}: {done.stderr}")
                else:
                    self.assertIn("No such file", done.stderr, f"{room} reaches {other}")

    def test_no_include_climbs(self):
        for path in sources():
            self.assertNotRegex(path.read_text(), r'#include "[^"]*\.\.', path)


class GateTest(unittest.TestCase):
    def test_every_place_that_sees_a_secret_is_known(self):
        found = {str(path.relative_to(ROOT)) for path in sources() if "reveal()" in path.read_text()}
        self.assertEqual(found, GATE)

    def test_only_their_rooms_name_the_heavy_headers(self):
        for pattern, allowed in ((r"#include <CLI/", {"cli/arguments.cpp"}), (r"#include <spdlog/", {"libvault/base/log.cpp"}),
                                 (r"#include <toml", {"libvault/policy/strict_table.hpp"}),
                                 (r"#include <seccomp\.h", {"libvault/sandbox/syscall_filter.cpp"}),
                                 (r"#include <libnftnl/", {"libvault/sandbox/redirection.cpp"}),
                                 (r"#include <SQLiteCpp", {"libvault/store/database.cpp", "libvault/store/schema.cpp"})):
            found = {str(path.relative_to(ROOT)) for path in sources() if re.search(pattern, path.read_text())}
            self.assertEqual(found, allowed)
        esys = {str(path.relative_to(ROOT)) for path in sources() if re.search(r"\bEsys_|\bTPM2B", path.read_text())}
        self.assertTrue(all(path.startswith("tpm/") for path in esys), esys)

    def test_main_is_a_table(self):
        self.assertLessEqual(len((ROOT / "cli/main.cpp").read_text().splitlines()), 100)


class HardeningTest(unittest.TestCase):
    def test_the_program_is_built_hardened(self):
        read = lambda *flags: subprocess.run(["readelf", "-W", *flags, PROGRAM], capture_output=True, text=True, check=True).stdout
        dynamic, segments, symbols = read("-d"), read("-l"), read("-s")
        self.assertRegex(dynamic, r"FLAGS_1.*NOW.*PIE")
        self.assertIn("GNU_RELRO", segments)
        self.assertNotRegex(segments, r"GNU_STACK.*RWE")
        self.assertIn("__stack_chk_fail", symbols)
        self.assertRegex(symbols, r"__\w+_chk\b")
        self.assertIn("__glibcxx_assert_fail", symbols)


def commands():
    """All commands, from the completion script: the parser's own tree."""
    script = subprocess.run([PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    return [name for name in re.findall(r'^ +"([a-z ]*)"\) choices=', script, re.M) if name]


class DocumentsTest(unittest.TestCase):
    def test_every_command_has_a_manual_page_with_all_its_options(self):
        for name in commands():
            page = ROOT / f"man/agentvault-{name.split()[0]}.1.scd"
            self.assertTrue(page.exists(), page)
            text = page.read_text().replace("\\", "")
            help_text = subprocess.run([PROGRAM, *name.split(), "--help"], capture_output=True, text=True, check=True).stdout
            for option in set(re.findall(r"--[a-z][a-z-]+", help_text)) - {"--help", "--version"}:
                if option in ("--vault", "--tpm", "--json", "--log-level"):
                    text_for = (ROOT / "man/agentvault.1.scd").read_text().replace("\\", "")
                else:
                    text_for = text
                self.assertIn(option, text_for, f"{page.name} does not tell about {option}")
            self.assertIn(name.split()[-1], text)

    def test_the_main_page_and_the_readme_name_every_command(self):
        for document in ("man/agentvault.1.scd", "README.md"):
            text = (ROOT / document).read_text().replace("\\", "")
            for name in commands():
                self.assertIn(name, text, document)

    def test_manual_pages_are_well_formed(self):
        for page in sorted((ROOT / "man").glob("*.scd")):
            done = subprocess.run(["scdoc"], input=page.read_text(), capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, f"{page.name}: {done.stderr}")

    def test_completions_complete(self):
        script = subprocess.run([PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True).stdout
        def complete(*words):
            probe = script + f'\nCOMP_WORDS=({" ".join(chr(39) + w + chr(39) for w in words)}); COMP_CWORD={len(words) - 1}; _agentvault; echo "${{COMPREPLY[@]}}"'
            return subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(complete("agentvault", "ex"), ["exec"])
        self.assertEqual(complete("agentvault", "exec", "--wi"), ["--with"])
        self.assertEqual(set(complete("agentvault", "token", "")) & {"inspect", "attenuate"}, {"inspect", "attenuate"})
        self.assertIn("--method", complete("agentvault", "token", "attenuate", "--"))
        for shell in ("zsh", "fish"):
            text = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
            self.assertIn("attenuate", text)
        # Words between single quotes, in which only \\' and \\\\ mean something (fish's language).
        for line in text.splitlines():
            self.assertRegex(line, r"^(#.*|complete (([^'\\]|'([^'\\]|\\['\\])*')*))$")
        if shutil.which("fish"):
            subprocess.run(["fish", "--no-execute"], input=text, text=True, check=True)
        self.assertEqual(subprocess.run([PROGRAM, "completion", "tcsh"], capture_output=True).returncode, 2)

    def test_help_names_what_users_rely_on(self):
        text = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
        for word in ("init", "add", "list", "show", "remove", "status", "provider", "exec", "sessions", "token", "revoke", "rotate", "pin", "recovery", "backup", "restore", "completion", "--vault", "--tpm", "--json"):
            self.assertIn(word, text)
        self.assertRegex(subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout, r"agentvault \d+\.\d+\.\d+")


class ExamplesTest(SystemTest):
    """The examples of the README (```sh blocks) and of every manual page's EXAMPLES run as they stand."""

    def run_block(self, block, origin):
        upstream = self.upstream()
        (self.folder / "key.txt").write_text(KEY + "\n")
        (self.folder / "agent.py").write_text("import os; assert os.environ['OPENAI_API_KEY'].startswith('agv_'); print('ran')\n")
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        link = bin_folder / "agentvault"
        if not link.exists():
            link.symlink_to(PROGRAM)
        environment = {**os.environ, "PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(self.folder), "CA": str(self.certificate.pem),
                       "URL": upstream.url, "SHELL": "/bin/true"}
        for name in ("AGENTVAULT_HOME", "XDG_DATA_HOME"):
            environment.pop(name, None)
        done = subprocess.run(["bash", "-eu", "-c", block], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, f"{origin}:\n{block}\n{done.stdout}{done.stderr}")

    def test_readme(self):
        blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
        blocks = [b for b in blocks if "agentvault " in b and "./dev" not in b]
        self.assertTrue(blocks)
        self.run_block("".join(blocks), "README.md")

    def test_manual_pages(self):
        for page in sorted((ROOT / "man").glob("*.scd")):
            examples = page.read_text().partition("# EXAMPLES")[2].partition("\n# ")[0]
            blocks = re.findall(r"^```\n(.*?)^```", examples, re.S | re.M)
            self.assertTrue(blocks, f"{page.name} has no example")
            with self.subTest(page.name):
                setup = "" if "agentvault init" in "".join(blocks) else "agentvault init --tpm embedded\n"
                if page.name not in ("agentvault.1.scd", "agentvault-init.1.scd", "agentvault-add.1.scd"):
                    setup += "agentvault add openai --stdin < key.txt\n"
                self.run_block("rm -rf .local\n" + setup + "".join(blocks), page.name)


if __name__ == "__main__":
    unittest.main()
