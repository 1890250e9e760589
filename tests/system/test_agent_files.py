"""Which files an agent sees and may change: its own state and nobody else's, a project without its keys and without what
programs outside obey; and no way around by links."""
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

from cell import WALLS, IsolationTest
from harness import KEY, LIMIT, PROGRAM, ROOT, main

PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nMIItest\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIItest\n-----END CERTIFICATE-----\n"


class AgentFilesTest(IsolationTest):
    def program(self, name, script):
        path = self.base / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return path

    def make(self, *names, text="secret of this\n", below=None):
        for name in names:
            path = (below or self.home) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run_inside(self, level, *words, options=(), **more):
        return self.v.run("exec", *options, "--isolation", level, "--", *words, cwd=more.pop("cwd", self.project), **more)


class StateTest(AgentFilesTest):
    LOG_INS = (".claude/.credentials.json", ".claude.json", ".codex/auth.json", ".gemini/oauth_creds.json", ".local/share/opencode/auth.json", ".copilot/config.json",
               ".local/share/amp/secrets.json", ".config/goose/secrets.yaml", ".pi/agent/auth.json", ".cline/data/settings/providers.json", ".factory/auth.v2.file")

    def test_a_program_that_is_no_agent_sees_no_agents_state(self):
        self.make(*self.LOG_INS)
        script = "for f in " + " ".join("~/" + name for name in self.LOG_INS) + "; do cat $f; echo x >> $f && echo WROTE $f; done; exit 0"
        for level in WALLS:
            for command in (("sh", "-c", script), (sys.executable, "-c", f"import subprocess; subprocess.run(['sh', '-c', {script!r}])"),
                            (self.program("wrapper", script),), ("sh", "-c", f"exec {self.program('wrapper', script)} --model claude")):
                done = self.ok(self.run_inside(level, *command, options=["-q"]))
                self.assertEqual((done.out.count("WROTE"), done.out.count("secret")), (0, 0), done.out)

    def test_an_agent_sees_its_own_whoever_starts_it(self):
        self.make(*self.LOG_INS)
        codex = self.program("codex", "cat ~/.codex/auth.json; touch ~/.codex/history; cat ~/.claude/.credentials.json ~/.claude.json; exit 0\n")
        path = {"PATH": f"{codex.parent}:{os.environ['PATH']}"}
        for level in WALLS:
            for words in ((codex,), ("codex",), ("sh", "-c", "codex"), ("bash", "-c", "cd . && FOO=1 codex --yes"), ("env", "FOO=1", "codex"), ("timeout", "50", "codex"),
                          ("sh", "-c", "exec env sh -c 'codex'"), ("nice", "-n", "5", "codex"), ("sh", "-c", 'exec "$0" "$@"', codex), ("env", "--", "codex")):
                with self.subTest(level=level, words=words):
                    self.assertEqual(self.ok(self.run_inside(level, *words, options=["-q"], env=path)).out, "secret of this\n")
                    self.assertTrue((self.home / ".codex/history").exists())
                    (self.home / ".codex/history").unlink()

    def test_share_shows_another_agents_state_and_write_opens_it(self):
        self.make(".codex/auth.json")
        for level in WALLS:
            self.assertEqual(self.inside(level, "cat ~/.codex/auth.json", "--share", self.home / ".codex").out, "secret of this\n")
            self.assertNotEqual(self.inside(level, "touch ~/.codex/x", "--share", self.home / ".codex").code, 0)
            self.ok(self.inside(level, "touch ~/.codex/x && rm ~/.codex/x", "--write", self.home / ".codex"))
            self.refused(self.inside(level, "true", "--write", self.home / ".codex/auth.json"), 2, "which is hidden", "name that one")

    def test_its_own_settings_hooks_and_commands_stay(self):
        """At standard Landlock gives rights to whole folders: SECURITY.md says so."""
        self.make(".claude/settings.json", ".claude/commands/deploy.md", ".claude/hooks/x", text="mine\n")
        script = """
for f in settings.json commands/deploy.md commands/new.md hooks/x CLAUDE.md agents/new.md skills/x plugins/x; do echo planted > ~/.claude/$f && echo WROTE $f; done 2>/dev/null
rm ~/.claude/settings.json && echo REMOVED; mv ~/.claude/commands ~/.claude/c && echo MOVED; mv ~/.claude ~/.moved && echo MOVED
echo state > ~/.claude/history.jsonl && mkdir -p ~/.claude/projects && cat ~/.claude/settings.json; exit 0
"""
        claude = self.program("claude", script)
        self.assertEqual(self.ok(self.run_inside("strict", claude, options=["-q"])).out, "mine\n")
        codex = self.program("codex", "for f in hooks/x prompts/x AGENTS.md; do echo 'notify = [\"evil\"]' > ~/.codex/$f && echo WROTE $f; done; touch ~/.codex/sessions; exit 0")
        self.assertEqual(self.ok(self.run_inside("strict", codex, options=["-q"])).out, "")
        self.assertTrue((self.home / ".codex/sessions").exists())
        self.assertEqual(self.ok(self.run_inside("strict", codex, options=["-q", "--write", self.home / ".codex/AGENTS.md"])).out, "WROTE AGENTS.md\n")

    FIRST = {"claude": [".claude"], "codex": [".codex"], "gemini": [".gemini"], "qwen": [".qwen"], "cline": [".cline/data"], "amp": [".config/amp", ".local/share/amp", ".cache/amp"],
             "opencode": [".config/opencode", ".local/share/opencode", ".local/state/opencode", ".cache/opencode"], "copilot": [".copilot", ".cache/copilot"],
             "cn": [".continue"], "pi": [".pi/agent"], "goose": [".config/goose", ".local/share/goose", ".local/state/goose"], "aider": [".aider/caches"],
             "crush": [".config/crush", ".local/share/crush"], "cursor-agent": [".cursor", ".config/cursor"], "droid": [".factory"], "auggie": [".augment"]}

    def test_a_first_start_on_an_empty_home_finds_its_folders(self):
        for level in WALLS:
            for name, folders in self.FIRST.items():
                with self.subTest(level=level, agent=name):
                    for entry in self.home.iterdir():
                        if entry.name.startswith("."):
                            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                    program = self.program(name, "set -e\nfor f in " + " ".join(folders) + "; do mkdir -p ~/$f/below; touch ~/$f/state; done; echo kept\n")
                    done = self.ok(self.run_inside(level, program))
                    self.assertEqual(done.out, "kept\n")
                    self.assertIn(f"{self.home}/{folders[0]}", [line for line in done.err.splitlines() if "made " in line][0])
                    self.assertEqual((self.home / folders[0]).stat().st_mode & 0o077, 0)
                    # The second start has nothing to say.
                    self.assertNotIn("made ", self.ok(self.run_inside(level, program)).err)


class KeysTest(AgentFilesTest):
    NAMES = (".env", ".env.production", ".envrc", "credentials.json", "service-account-prod.json", "client_secret_1.json", "store.p12", "id_ed25519", "secrets.yaml",
             "a/b/c/d/e/f/g/.env", "build/.env", "vendor/x/.env.local", "target/debug/.env", ".venv/.env")

    def test_keys_in_the_project_are_hidden_at_any_depth(self):
        self.make(*self.NAMES, below=self.project)
        self.make("server.pem", "deep/er/tls.key", text=PRIVATE_KEY, below=self.project)
        self.make(".npmrc", text="//npm.example/:_authToken=abc\n", below=self.project)
        self.make("ca.pem", "cert.key", text=CERTIFICATE, below=self.project)
        self.make(".env.example", "node_modules/x/.env", text="fine\n", below=self.project)
        done = self.ok(self.inside("strict", "cat " + " ".join((*self.NAMES, "server.pem", "deep/er/tls.key", ".npmrc"))))
        self.assertEqual(done.out, "")
        self.assertEqual(self.ok(self.inside("strict", "cat ca.pem cert.key .env.example node_modules/x/.env")).out, 2 * CERTIFICATE + 2 * "fine\n")
        # What cannot be hidden is said.
        done = self.run_inside("standard", "cat", ".env")
        self.assertIn("isolation standard cannot hide files of the project: the agent reads ", done.err)
        self.assertIn(" more\n", done.err)

    def test_no_number_of_folders_makes_the_search_give_up(self):
        self.make("z/z/z/z/.env", below=self.project)
        for i in range(45):
            for j in range(100):
                (self.project / f"a{i}/b{j}").mkdir(parents=True)
        self.assertEqual(self.ok(self.inside("strict", "cat z/z/z/z/.env")).out, "")

    def test_too_many_such_files_are_said(self):
        for i in range(2001):
            (self.project / f".env.{i}").write_text("")
        self.refused(self.inside("strict", "true"), 4, "more than 2000 files that hold keys", "remove those that nobody needs")


class ObeyedTest(AgentFilesTest):
    NAMES = (".envrc", ".vscode/tasks.json", ".devcontainer.json", ".idea/workspace.xml", ".mcp.json", ".cursor/mcp.json", ".claude/settings.json", ".yarnrc.yml", ".yarn/releases/yarn.cjs",
             ".cargo/config.toml", ".npmrc", "lefthook.yml", ".pre-commit-config.yaml", ".gdbinit", ".nvim.lua", "sub/folder/.vscode/tasks.json", "sub/.envrc")

    def test_what_programs_outside_obey_is_not_changed(self):
        self.make(*self.NAMES, text="mine\n", below=self.project)
        script = "for f in " + " ".join(self.NAMES) + "; do echo planted >> $f && echo WROTE $f; rm -f $f && echo REMOVED $f; done 2>/dev/null; mv .vscode v && echo MOVED; mv sub s && echo MOVED; exit 0"
        self.assertEqual(self.ok(self.inside("strict", script)).out, "")
        self.assertEqual(self.ok(self.inside("strict", "echo more >> .vscode/tasks.json && cat .vscode/tasks.json", "--write", self.project / ".vscode")).out, "mine\nmore\n")
        self.refused(self.inside("strict", "true", "--write", self.project / ".vscode/tasks.json"), 2, "which is not changed", "name that one")

    def test_every_name_says_who_obeys_it(self):
        source = (ROOT / "libvault/sandbox/obeyed_names.hpp").read_text()
        self.assertGreater(source.count("ObeyedName{\""), 60)
        self.assertNotIn('", ""}', source)


class SummaryTest(AgentFilesTest):
    def test_verbose_tells_where_everything_leads(self):
        self.make(".env", ".vscode/tasks.json", below=self.project)
        self.make(".aws/credentials", "other/file")
        done = self.ok(self.run_inside("strict", "true", options=["-v", "--share", "../.aws", "--write", self.home / "other"]))
        for line in (f"the agent writes to {self.project}, ", f"{self.home}/other", f"{self.home}/.aws", f"hidden in the project: {self.project}/.env\n",
                     f"not changed in the project: {self.project}/.vscode"):
            self.assertIn(line, done.err)
        self.assertNotIn("writes to", self.run_inside("strict", "true").err)
        self.refused(self.run_inside("strict", "true", options=["-v", "-q"]), 2, "excludes")


class LinkTest(AgentFilesTest):
    def test_a_planted_link_does_not_lead_share_or_write_elsewhere(self):
        self.make(".aws/credentials", "other/file")
        (self.project / ".env").symlink_to(self.home / ".aws/credentials")
        (self.project / ".env.local").symlink_to(self.home / ".aws/credentials")
        (self.project / "wl").symlink_to(self.home)
        for level in WALLS:
            for option, path in (("--share", ".env"), ("--share", ".env.local"), ("--write", "wl"), ("--write", "wl/other"), ("--share", "wl/.aws"), ("--write", "../project/wl/other")):
                done = self.inside(level, "cat .env .env.local; echo x > ~/other/file", option, path)
                self.refused(done, 2, f"{option}: ", "name the file itself")
                self.assertIn("is a symbolic link, which an agent can have made, to ", done.err)
            self.assertNotIn("secret", self.inside(level, "cat .env .env.local").out)
            # Named itself, it is what the person means.
            self.assertEqual(self.inside(level, "cat ~/.aws/credentials", "--share", self.home / ".aws").out, "secret of this\n")
        self.assertEqual((self.home / "other/file").read_text(), "secret of this\n")

    def test_a_link_that_comes_after_the_look_is_not_followed(self):
        """An agent of another session exchanges a folder and a link again and again."""
        self.make("other/file")
        (self.project / "sub").mkdir()
        (self.project / "link").symlink_to(self.home / "other")
        libc, over = ctypes.CDLL(None), threading.Event()
        one, two = str(self.project / "sub").encode(), str(self.project / "link").encode()

        def exchange():
            while not over.is_set():
                libc.renameat2(-100, one, -100, two, 2)  # RENAME_EXCHANGE
        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            for level in WALLS:
                for _ in range(12):
                    self.inside(level, "touch sub/PLANTED link/PLANTED", "--write", self.project / "sub")
                    self.assertFalse((self.home / "other/PLANTED").exists(), level)
        finally:
            over.set()
            thread.join()

    def test_a_policy_is_held_to_the_same(self):
        self.make("other/file")
        (self.project / "wl").symlink_to(self.home / "other")
        policy = self.base / "p.toml"
        policy.write_text(f'version = 1\n[agents.default]\nwrite = ["{self.project}/wl"]\n')
        self.ok(self.v.run("policy", "apply", policy))
        self.refused(self.inside("strict", "true"), 2, "is a symbolic link", "name the file itself")

    def test_a_vault_behind_a_link_of_the_project_is_not_served(self):
        (self.project / "vault").symlink_to(self.v.path)
        for level in WALLS:
            self.refused(self.inside(level, "true", env={"AGENTVAULT_HOME": str(self.project / "vault")}), 2, "the way to the vault leads through the symbolic link", "the vault's own folder")
        # Where no agent writes, a link is the user's own affair.
        (self.home / "link").symlink_to(self.v.path)
        for level in WALLS:
            self.ok(self.inside(level, "true", env={"AGENTVAULT_HOME": str(self.home / "link")}))

    def test_the_vault_is_shown_to_nobody(self):
        for level in WALLS:
            for option in ("--share", "--write"):
                self.refused(self.inside(level, "true", option, self.v.path), 2, "lies in the vault", "no agent gets it")

    @unittest.skipUnless(os.geteuid() == 0, "SKIPPED: only root can make a folder of another user's")
    def test_init_takes_no_folder_of_another_user(self):
        theirs = self.base / "theirs"
        theirs.mkdir()
        os.chown(theirs, 61205, 61205)
        self.refused(self.v.run("--vault", theirs, "init", "--tpm", "embedded"), 1, "belongs to another user", "another place")


class GitTest(AgentFilesTest):
    IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}

    def git(self, *words, cwd=None):
        return subprocess.run(["git", *map(str, words)], cwd=cwd or self.project, env={**self.v.environment, **self.IDENTITY}, check=True, capture_output=True, text=True)

    def attack(self, git):
        script = f"""
echo '[core] fsmonitor = touch pwned' >> {git}/config && echo WROTE config; echo x > {git}/hooks/pre-commit && echo WROTE hook
mv {git}/hooks {git}/h && echo MOVED; mv {git}/config {git}/c && echo MOVED; exit 0
"""
        self.assertEqual(self.ok(self.inside("strict", script, env=self.IDENTITY)).out, "")
        self.ok(self.inside("strict", "echo 1 >> file && git add file && git commit -qm more", env=self.IDENTITY))

    def test_a_separate_folder_inside_of_the_project(self):
        (self.project / "data").mkdir()
        self.git("init", "-q", "--separate-git-dir", self.project / "data/repository")
        self.attack("data/repository")
        self.assertNotEqual(self.inside("strict", "echo gitdir: elsewhere > .git").code, 0)

    def test_a_git_link_inside_of_the_project(self):
        self.git("init", "-q")
        (self.project / ".git").rename(self.project / "repository")
        (self.project / ".git").symlink_to("repository")
        self.attack("repository")
        self.assertIn("is a symbolic link: the agent can put another in its place", self.run_inside("strict", "true").err)

    def test_files_that_the_configuration_names(self):
        self.git("init", "-q")
        self.make("shared.gitconfig", text="[include]\n\tpath = more/second.gitconfig\n", below=self.project)
        self.make("more/second.gitconfig", "tools/hooks/pre-push", "attributes.txt", text="", below=self.project)
        self.git("config", "include.path", "../shared.gitconfig")
        self.git("config", "core.hooksPath", "tools/hooks")
        self.git("config", "core.attributesFile", "attributes.txt")
        script = "for f in shared.gitconfig more/second.gitconfig tools/hooks/pre-push tools/hooks/pre-commit attributes.txt; do echo x >> $f && echo WROTE $f; done; mv tools t && echo MOVED; exit 0"
        self.assertEqual(self.ok(self.inside("strict", script)).out, "")


if __name__ == "__main__":
    main()
