"""Names that programs outside obey and that are not there yet: an agent makes none at strict, in whatever way, and does
its ordinary work as before."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from cell import IsolationTest
from harness import PROGRAM, main

# Of the kernel: what Python does not have, or does in another way.
CALLS = """
import ctypes, errno, os, socket, stat, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, NOREPLACE, EXCHANGE = -100, 0x1000, 0x400, 1, 2
def call(name, *words):
    result = getattr(libc, name)(*(w.encode() if isinstance(w, str) else w for w in words))
    return 0 if result >= 0 else ctypes.get_errno()
def says(what, result):
    print(what, errno.errorcode.get(result, result), flush=True)
def attempt(function, *words, **more):
    try:
        function(*words, **more)
        return 0
    except OSError as error:
        return error.errno
"""

NAMES = (".envrc", ".vscode/tasks.json", ".devcontainer.json", ".claude/settings.json", ".cursor/mcp.json", ".yarnrc.yml", ".git/info/attributes",
         ".git/rebase-merge/git-rebase-todo", ".git/commondir", ".git/config.worktree", "sub/.envrc", "sub/.cargo/config.toml", "a/b/c/.mise.toml", ".EnvRc")

WAYS = CALLS + """
os.mkdir("prepared"); open("prepared/config.toml", "w").close(); open("plain", "w").close(); os.symlink(".envrc", "link")
says("open", attempt(os.open, ".envrc", os.O_CREAT | os.O_WRONLY))
says("exclusive", attempt(os.open, ".envrc", os.O_CREAT | os.O_EXCL | os.O_RDWR))
says("absolute", attempt(os.open, os.getcwd() + "/.envrc", os.O_CREAT | os.O_WRONLY))
says("roundabout", attempt(os.open, "prepared/.././/.envrc", os.O_CREAT | os.O_WRONLY))
says("at a folder", attempt(os.open, ".envrc", os.O_CREAT | os.O_WRONLY, dir_fd=os.open(".", os.O_PATH)))
says("through /proc", attempt(os.open, "/proc/self/cwd/.envrc", os.O_CREAT | os.O_WRONLY))
says("creat", call("creat", ".envrc", 0o644))
says("by a link", attempt(os.open, "link", os.O_CREAT | os.O_WRONLY))
says("mkdir", attempt(os.mkdir, ".vscode"))
says("mkdir/", call("mkdir", ".vscode/", 0o755))
says("mkfifo", attempt(os.mkfifo, ".envrc"))
says("mknod", attempt(os.mknod, ".envrc", stat.S_IFREG | 0o644))
says("symlink", attempt(os.symlink, "plain", ".envrc"))
says("link", attempt(os.link, "plain", ".envrc"))
says("rename", attempt(os.rename, "plain", ".envrc"))
says("renameat2", call("renameat2", AT_FDCWD, "plain", AT_FDCWD, ".envrc", NOREPLACE))
says("a folder with it", attempt(os.rename, "prepared", ".cargo"))
os.chmod("prepared", 0)
says("an unreadable folder", attempt(os.rename, "prepared", ".cargo"))
os.chmod("prepared", 0o755)
says("a link on the way", attempt(os.symlink, "prepared", ".cargo"))
os.symlink("prepared", "way")
says("a moved link", attempt(os.rename, "way", ".cargo"))
says("a linked link", attempt(os.link, "way", ".cargo", follow_symlinks=False))
says("git's own", attempt(os.rename, ".git/info", ".git/gone") or attempt(os.symlink, "../prepared", ".git/info"))
says("hooks elsewhere", attempt(os.mkdir, "githooks"))
says("included", attempt(os.open, "team.inc", os.O_CREAT | os.O_WRONLY))
nameless = os.open(".", os.O_TMPFILE | os.O_RDWR)
says("nameless", call("linkat", AT_FDCWD, f"/proc/self/fd/{nameless}", AT_FDCWD, ".envrc", AT_SYMLINK_FOLLOW))
os.makedirs("node_modules/package/.vscode"); open("node_modules/package/.vscode/tasks.json", "w").close(); os.makedirs("sub"); os.mkdir("empty")
says("out of a package", attempt(os.rename, "node_modules/package", "moved"))
says("packages", attempt(os.rename, "node_modules", "moved"))
says("exchanged", call("renameat2", AT_FDCWD, "empty", AT_FDCWD, "node_modules/package", EXCHANGE))
os.mkdir("sub/.cargo")
says("exchanged content", call("renameat2", AT_FDCWD, "sub/.cargo", AT_FDCWD, "prepared", EXCHANGE))
says("moved by name", attempt(os.rename, "node_modules/package/.vscode", ".vscode"))
"""
DENIED = ("open", "exclusive", "absolute", "roundabout", "at a folder", "through /proc", "creat", "by a link", "mkdir", "mkdir/", "mkfifo", "mknod", "symlink", "link", "rename",
          "renameat2", "a folder with it", "an unreadable folder", "a link on the way", "a moved link", "a linked link", "git's own", "hooks elsewhere", "included", "nameless", "exchanged content")

# Where paths are too long to be told, what lies there is not known.
LONG = CALLS + """
top, name = os.getcwd(), "d" * 250
def chain(first, count):
    os.chdir(top); os.makedirs(first); os.chdir(first)
    for _ in range(count):
        os.mkdir(name); os.chdir(name)
chain("a/node_modules", 10)
os.makedirs("x/.vscode"); open("x/.envrc", "w").close()
deep = os.open(".", os.O_RDONLY)
chain("b", 9)
below = os.open(".", os.O_RDONLY)
os.chdir(top)
says("deeper", attempt(os.rename, "a", "a", dst_dir_fd=below))
says("out", attempt(os.rename, "x", "moved", src_dir_fd=deep))
"""

# What cannot be seen for a moment is judged all the same.
BLINKING = CALLS + """
os.makedirs("p/d"); open("p/d/config.toml", "w").close(); open("p/f", "w").close()
folder, over = os.open("p", os.O_RDONLY), False
def blink():
    while not over:
        libc.fchmod(folder, 0)
        libc.fchmod(folder, 0o755)
blinking = threading.Thread(target=blink)
blinking.start()
sys.setswitchinterval(1e-6)
for i in range(4000):
    libc.rename(b"p/f", b".envrc")
    libc.rename(b"p/d", b".cargo")
over = True
blinking.join()
print(os.path.lexists(".envrc"), os.path.lexists(".cargo"))
"""

# Two programs that make and remove one file: both always get it.
CONTESTED = CALLS + """
def contest():
    return sum(attempt(lambda: os.close(os.open("lock", os.O_CREAT | os.O_RDWR))) not in (0,) for _ in range(2000) if attempt(os.unlink, "lock") in (0, errno.ENOENT))
child = os.fork()
failed = contest()
if child == 0:
    os._exit(failed > 0)
print(failed, os.waitpid(child, 0)[1])
"""

# Two threads of one process share the text that names the file: what is judged must be what is made.
RACE = CALLS + """
name = ctypes.create_string_buffer(b"harmless", 16)
over = False
def flip():
    while not over:
        name.value = b".envrc"
        name.value = b"harmless"
flipping = threading.Thread(target=flip)
flipping.start()
sys.setswitchinterval(1e-6)
for i in range(4000):
    libc.open(name, os.O_CREAT | os.O_WRONLY, 0o644)
    libc.mkdir(name, 0o755)
    libc.symlink(b"x", name)
    libc.rename(b"harmless", name)
    attempt(os.unlink, "harmless"), attempt(os.rmdir, "harmless")
over = True
flipping.join()
print(os.path.lexists(".envrc"))
"""

WORK = CALLS + """
def mode(path):
    return oct(os.stat(path).st_mode & 0o7777)
os.umask(0o027)
os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o666)); os.mkdir("d", 0o777); os.mkfifo("p", 0o666)
file = os.open("x", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o444)
os.write(file, b"12"); os.ftruncate(file, 1)
print(mode("a"), mode("d"), mode("p"), mode("x"), os.fstat(file).st_size, os.get_inheritable(file))
class Inherited:
    file = libc.open(b"inherited", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
print(os.get_inheritable(Inherited.file))
says("there", attempt(os.open, "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
says("nowhere", attempt(os.open, "no/where", os.O_CREAT | os.O_WRONLY))
says("no folder", attempt(os.open, "a/b", os.O_CREAT | os.O_WRONLY))
says("mkdir there", attempt(os.mkdir, "d"))
says("slash", call("symlink", "a", "new/"))
says("file to folder", call("rename", "a", "new/"))
says("append", attempt(os.open, "a", os.O_CREAT | os.O_APPEND | os.O_WRONLY))
says("for others to run", attempt(os.open, "suid", os.O_CREAT | os.O_WRONLY, 0o4755))
says("nameless for others to run", attempt(os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o4755))
says("a device", attempt(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
os.symlink("later", "link"); os.close(os.open("link", os.O_CREAT | os.O_WRONLY)); print(os.path.exists("later"))
os.rename("later", "d/later"); os.link("d/later", "again"); os.replace("again", "a"); os.rename("d", "e"); print(sorted(os.listdir("e")))
nameless = os.open(".", os.O_TMPFILE | os.O_RDWR)
says("nameless", call("linkat", AT_FDCWD, f"/proc/self/fd/{nameless}", AT_FDCWD, "named", AT_SYMLINK_FOLLOW))
folder = os.open("e", os.O_PATH)
os.close(os.open("by-folder", os.O_CREAT | os.O_WRONLY, dir_fd=folder)); os.mkdir("below", dir_fd=folder); print(sorted(os.listdir("e")))
os.chdir("e/below"); open("../up", "w").close(); os.chdir("../.."); print(os.path.exists("e/up"))
gone = os.open("gone", os.O_CREAT | os.O_RDWR); os.unlink("gone")
says("a descriptor's", attempt(os.open, f"/proc/self/fd/{gone}", os.O_CREAT | os.O_WRONLY)); print([name for name in os.listdir(".") if "gone" in name])
server = socket.socket(socket.AF_UNIX); server.bind("socket"); print(stat.S_ISSOCK(os.stat("socket").st_mode))
open("/tmp/elsewhere", "w").close(); says("across", attempt(os.rename, "/tmp/elsewhere", "here"))
"""
WORKED = """0o640 0o750 0o640 0o440 1 False
True
there EEXIST
nowhere ENOENT
no folder ENOTDIR
mkdir there EEXIST
slash ENOENT
file to folder ENOTDIR
append 0
for others to run EPERM
nameless for others to run EPERM
a device EPERM
True
['later']
nameless 0
['below', 'by-folder', 'later']
True
a descriptor's 0
[]
True
across EXDEV
"""

# A sandbox inside of the cell, as some agents have one for what they run (landlock(7), by number).
SANDBOX = CALLS + """
writes = 0x1fc2
class Rules(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64)]
rules = libc.syscall(444, ctypes.byref(Rules(writes)), 8, 0)
libc.prctl(38, 1, 0, 0, 0)
print(libc.syscall(446, rules, 0))
says("own", attempt(os.open, "made", os.O_CREAT | os.O_WRONLY))
if os.fork() == 0:
    os.execv("/bin/sh", ["sh", "-c", "mkdir child; mv there moved; ln -s x y; true"])
os.wait()
print(sorted(os.listdir(".")))
"""


# Rules that one process makes and another enters.
SENT_RULES = SANDBOX.replace("""rules = libc.syscall(444, ctypes.byref(Rules(writes)), 8, 0)
""", """ours, theirs = socket.socketpair()
if os.fork() == 0:
    socket.send_fds(theirs, [b"x"], [libc.syscall(444, ctypes.byref(Rules(writes)), 8, 0)])
    os._exit(0)
os.wait()
rules = socket.recv_fds(ours, 1, 1)[1][0]
""")


class ReservedNamesTest(IsolationTest):
    def setUp(self):
        super().setUp()
        for line in ("init -q", "commit -q --allow-empty -m first"):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *line.split()], cwd=self.project, check=True, env={**os.environ, "HOME": str(self.home)})

        with open(self.project / ".git/config", "a") as configuration:
            configuration.write("[core]\n\thooksPath = githooks\n[include]\n\tpath = ../team.inc\n")

    def found(self):
        return [name for name in NAMES if os.path.lexists(self.project / name)]

    def test_no_name_is_made_where_it_is_missing(self):
        script = "for f in " + " ".join(NAMES) + "; do mkdir -p $(dirname $f); echo planted > $f && echo WROTE $f; done 2>/dev/null; exit 0"
        done = self.ok(self.v.run("exec", "--isolation", "strict", "--", "sh", "-c", script, cwd=self.project))
        self.assertEqual(done.out, "")
        self.assertEqual(self.found(), [])
        line = [line for line in done.err.splitlines() if "not made in the project" in line][0]
        for part in (".envrc (direnv obeys it)", ".vscode (VS Code obeys it)", ".git/info/attributes (git obeys it)", "sub/.cargo/config.toml (cargo obeys it)", "--write NAME"):
            self.assertIn(part, line)
        # What may be told is not told again and again, and not at all where nobody wants to hear it.
        self.assertEqual(self.ok(self.inside("strict", script)).err, "")

    def test_whatever_call_would_make_it(self):
        done = self.ok(self.python("strict", WAYS))
        said = dict(line.rsplit(" ", 1) for line in done.out.splitlines())
        self.assertEqual({way: said[way] for way in DENIED}, dict.fromkeys(DENIED, "EACCES"))
        # Whoever moves files copies these, name by name.
        self.assertEqual({said[way] for way in ("out of a package", "packages", "exchanged")}, {"EXDEV"})
        self.assertIn(said["moved by name"], ("EACCES", "EXDEV"))
        self.assertEqual(self.found(), [])
        self.assertFalse((self.project / ".cargo").exists())

    def test_the_name_that_is_judged_is_the_name_that_is_made(self):
        self.assertEqual(self.ok(self.python("strict", RACE)).out, "False\n")
        self.assertEqual(self.found(), [])

    def test_what_cannot_be_seen_is_not_moved(self):
        done = self.ok(self.python("strict", LONG))
        self.assertIn("out E", done.out)
        self.assertFalse((self.project / "moved").exists())
        self.assertEqual(self.ok(self.python("strict", BLINKING)).out, "False False\n")

    def test_a_contested_file_is_had_by_both(self):
        self.assertEqual(self.ok(self.python("strict", CONTESTED)).out, "0 0\n")

    def test_a_sub_agent_makes_files(self):
        program = self.base / "agentvault"
        shutil.copy(PROGRAM, program)
        self.ok(self.inside("strict", f"{program} exec -q -- sh -c 'touch new && mkdir folder && mv new folder/new; ! touch .envrc' 2>&1"))
        self.assertTrue((self.project / "folder/new").exists())
        self.assertEqual(self.found(), [])

    def test_where_a_link_leads_is_kept(self):
        (self.project / "settings").mkdir()
        (self.project / "settings/mcp.json").write_text("mine\n")
        (self.project / ".mcp.json").symlink_to("settings/mcp.json")
        self.inside("strict", "echo planted > .mcp.json; echo planted > settings/mcp.json; rm .mcp.json; echo planted > .mcp.json")
        self.assertEqual((self.project / "settings/mcp.json").read_text(), "mine\n")
        self.assertFalse((self.project / ".mcp.json").exists())

    def test_what_is_given_back_is_no_way_for_other_names(self):
        script = "mkdir -p .vscode/pkg/.claude; echo evil > .vscode/pkg/.envrc; mv .vscode/pkg pkg; ls -A pkg"
        done = self.inside("strict", script, "--write", ".vscode")
        self.assertEqual(done.out, "")

    def test_the_folders_above_the_project_stay(self):
        """Under /tmp, which is private inside: there they are the agent's own."""
        above = pathlib.Path(tempfile.mkdtemp(prefix="agentvault-above-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, above, True)
        project = above / "a/b/project"
        project.mkdir(parents=True)
        self.inside("strict", f"mv {above}/a {above}/c; mv {above} /tmp/other; cd {above}/c/b/project 2>/dev/null; echo planted > .envrc; mkdir .vscode", cwd=project)
        self.assertEqual(list(project.iterdir()), [])
        self.ok(self.inside("strict", "mkdir /tmp/x && mv /tmp/x /tmp/y && touch new", cwd=project))

    def test_what_configuration_names_is_kept_wherever_git_looks_for_it(self):
        def git(*words, cwd=self.project):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always", *words], cwd=cwd, check=True, capture_output=True,
                           env={**os.environ, "HOME": str(self.home)})
        git("config", "--unset", "include.path")
        git("config", "core.hooksPath", "hooks-of-tree")
        git("worktree", "add", "-q", "../linked")
        linked = self.home / "linked"
        (linked / "hooks-of-tree").mkdir()
        (linked / "hooks-of-tree/pre-commit").write_text("mine\n")
        self.inside("strict", "echo planted > hooks-of-tree/pre-commit; echo planted > hooks-of-tree/post-commit", cwd=linked)
        self.assertEqual([path.read_text() for path in (linked / "hooks-of-tree").iterdir()], ["mine\n"])
        # In git's own folder, from below; by an included file outside of the project; in packages; where modules would be.
        git("config", "core.hooksPath", "node_modules/hooks")
        git("config", "include.path", "local.inc")
        (self.home / ".gitconfig").write_text("[include]\n\tpath = more\n")
        (self.home / "more").write_text("[core]\n\tattributesFile = named-outside\n")
        (self.project / "sub").mkdir()
        planted = ("../.git/local.inc", "../.git/modules/lib/hooks/post-checkout")
        self.inside("strict", "for f in " + " ".join(planted) + "; do mkdir -p $(dirname $f); echo planted > $f; done", cwd=self.project / "sub")
        self.inside("strict", "mkdir -p node_modules/hooks && echo planted > node_modules/hooks/pre-commit; echo planted > named-outside")
        for name in (".git/local.inc", ".git/modules", "node_modules/hooks", "named-outside"):
            self.assertFalse((self.project / name).exists(), name)

    def test_links_that_lead_to_nothing_and_links_on_the_way(self):
        (self.project / ".envrc").symlink_to("local/envrc")
        (self.project / "agents/claude").mkdir(parents=True)
        (self.project / "agents/claude/settings.json").write_text("mine\n")
        (self.project / "way").symlink_to("agents")
        (self.project / ".claude").symlink_to("way/claude")
        (self.project / "x").mkdir()
        (self.project / ".mvn").symlink_to("x")
        self.inside("strict", "mkdir local; echo planted > .envrc; echo planted > x/jvm.config; rm way; mkdir -p way/claude && echo planted > way/claude/settings.json; mv agents other")
        for name in ("local/envrc", "x/jvm.config", "way/claude"):
            self.assertFalse((self.project / name).exists(), name)
        self.assertEqual((self.project / "agents/claude/settings.json").read_text(), "mine\n")

    def test_what_is_handed_over_is_nobody_elses(self):
        """No descriptor stays behind: a lock ends with the agent's last close(), and what it wrote can be started."""
        script = CALLS + """
import fcntl, subprocess
failed = 0
for i in range(300):
    for name in ("lock", f"lock{i}"):
        for _ in range(2):
            file = os.open(name, os.O_CREAT | os.O_RDWR)
            failed += attempt(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(file)
print(failed)
for i in range(100):
    file = os.open(f"program{i}", os.O_CREAT | os.O_WRONLY, 0o755)
    os.write(file, b"#!/bin/sh\\ntrue\\n")
    os.close(file)
    subprocess.run([f"./program{i}"], check=True)
"""
        self.assertEqual(self.ok(self.python("strict", script)).out, "0\n")

    def test_git_rebase_fails_whole_and_can_be_given_back(self):
        make = """git() { command git -c user.name=a -c user.email=a@example.com "$@"; }
git checkout -qb topic; echo 1 > one; git add one; git commit -qm one; git checkout -q -; echo 2 > two; git add two; git commit -qm two; git checkout -q topic
"""
        rebase = "git -c user.name=a -c user.email=a@example.com rebase -q "
        self.ok(self.inside("strict", make + rebase + "-; test ! -e .git/rebase-merge && git status --short && test ! -e two"))
        self.ok(self.inside("strict", rebase + "- && test -e two", "--write", ".git/rebase-merge"))

    def test_everything_else_is_made_as_before(self):
        self.assertEqual(self.ok(self.python("strict", WORK)).out, WORKED)

    def test_git_works(self):
        script = """set -e
git config --get core.bare; echo one > file; git add .; git commit -qm second; git checkout -qb other; echo two > file; git commit -qam third
git checkout -q -; git merge -q other; git stash list; git tag v1; git gc -q; git log --oneline | wc -l; git branch -d other; git clone -q . copy; git -C copy log --oneline | wc -l
"""
        done = self.ok(self.v.run("exec", "--isolation", "strict", "--", "sh", "-c", script, cwd=self.project,
                                  env={f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}))
        self.assertEqual([line.strip() for line in done.out.splitlines() if "branch" not in line], ["false", "3", "3"])
        self.assertNotIn("not made", done.err)
        self.assertNotIn("runs programs", done.err)

    def test_write_gives_one_back(self):
        make = "mkdir -p .vscode sub/.cargo && echo mine > .vscode/tasks.json && echo mine > sub/.cargo/config.toml && rm .vscode/tasks.json && echo again > .vscode/tasks.json; echo x > .envrc"
        done = self.inside("strict", make, "--write", ".vscode", "--write", self.project / "sub/.cargo/config.toml")
        self.assertEqual((self.project / ".vscode/tasks.json").read_text(), "again\n")
        self.assertEqual((self.project / "sub/.cargo/config.toml").read_text(), "mine\n")
        self.assertFalse((self.project / ".envrc").exists(), done)
        self.ok(self.inside("strict", "echo x > .envrc", "--write", "."))
        self.assertTrue((self.project / ".envrc").exists())
        # Elsewhere what is not there cannot be named.
        self.refused(self.inside("strict", "true", "--write", self.home / "missing"), 2, "there is no", "that exists")

    def test_packages_may_hold_anything(self):
        self.ok(self.inside("strict", "mkdir -p node_modules/x/.vscode && echo > node_modules/x/.npmrc && mv node_modules/x node_modules/y && test -d node_modules/y/.vscode"))

    def test_what_forbids_itself_files_is_not_helped_around_that(self):
        (self.project / "there").write_text("")
        done = self.ok(self.python("strict", SANDBOX))
        self.assertEqual(done.out, "0\nown EACCES\n['.git', 'there']\n")
        self.assertEqual(self.ok(self.python("strict", SENT_RULES)).out, done.out)

    def test_a_repository_that_runs_programs_is_said(self):
        script = "git init -q s/r && git -C s/r config core.fsmonitor evil && mv s new; git init -q harmless; mkdir sub; echo 'gitdir: ../new/r/.git' > sub/.git"
        done = self.ok(self.v.run("exec", "--isolation", "strict", "--", "sh", "-c", script, cwd=self.project))
        lines = [line for line in done.err.splitlines() if "made the git repository" in line]
        self.assertEqual(len(lines), 2, done)
        self.assertIn(f"{self.project}/new/r/.git, which runs programs (core.fsmonitor)", lines[0])
        self.assertIn(f"{self.project}/sub/.git, which runs programs (core.fsmonitor)", lines[1])
        done = self.ok(self.v.run("exec", "--isolation", "strict", "--", "sh", "-c", "for i in $(seq 70); do mkdir -p many/$i/.git; done", cwd=self.project))
        self.assertIn("the agent made 64 git repositories or more", done.err)


if __name__ == "__main__":
    main()
