"""What tests of isolation share: a home and a project in it, outside of /tmp, which is private inside."""
import os
import pathlib
import shutil
import sys
import tempfile

from harness import ROOT, SystemTest

WALLS = ("standard", "strict")


class IsolationTest(SystemTest):
    def setUp(self):
        super().setUp()
        # Not under /tmp, which is private inside.
        place = "/home" if os.geteuid() == 0 else str(ROOT / "build")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="isolation-", dir=place))
        self.addCleanup(shutil.rmtree, self.base, True)
        self.home, self.project = self.base / "home", self.base / "home/project"
        self.project.mkdir(parents=True)
        (self.home / ".bashrc").write_text("# start\n")
        self.v = self.vault()
        self.v.environment["HOME"] = str(self.home)
        for name in ("XDG_RUNTIME_DIR", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            self.v.environment.pop(name, None)
        self.ok(self.v.add("openai"))

    def inside(self, level, script, *options, cwd=None, env=None, stdin="", shell="sh"):
        return self.v.run("exec", "-q", "--isolation", level, *options, "--", shell, "-c", script, cwd=cwd or self.project, env=env, stdin=stdin)

    def python(self, level, script, *options, **more):
        return self.v.run("exec", "-q", "--isolation", level, *options, "--", sys.executable, "-c", script, cwd=more.pop("cwd", self.project), **more)
