#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "base/error.hpp"
#include "catch.hpp"
#include "sandbox/channel.hpp"
#include "sandbox/file_view.hpp"
#include "sandbox/furnishing.hpp"
#include "sandbox/git_view.hpp"
#include "sandbox/known_agents.hpp"
#include "sandbox/landlock_view.hpp"
#include "sandbox/place.hpp"
#include "sandbox/reserved_names.hpp"
#include "sandbox/secret_files.hpp"
#include "scratch.hpp"

using namespace agentvault;
using namespace agentvault::sandbox;
namespace fs = std::filesystem;

namespace {

struct Home {
  Scratch scratch;
  fs::path home = fs::canonical(scratch / "") / "home";
  fs::path project = home / "project";
  Home() { fs::create_directories(project); }

  void file(const fs::path& path, const std::string& text = "") const {
    fs::create_directories((home / path).parent_path());
    std::ofstream(home / path) << text;
  }
  FileRequest request() const {
    FileRequest request;
    request.working_directory = project;
    request.home = home;
    request.command = {"true"};
    request.search_path = "/usr/bin:/bin";
    return request;
  }
};

bool has(const std::vector<fs::path>& list, const fs::path& path) {
  return std::find(list.begin(), list.end(), path) != list.end();
}

}  // namespace

TEST_CASE("within is by whole names") {
  CHECK(is_within("/a/b", "/a"));
  CHECK(is_within("/a", "/a"));
  CHECK(is_within("/a", "/"));
  CHECK_FALSE(is_within("/ab", "/a"));
  CHECK_FALSE(is_within("/a", "/a/b"));
}

TEST_CASE("a project can be written, its home and what is above cannot") {
  const Home h;
  CHECK(has(view_of(h.request()).writable, h.project));
  for (const auto& folder : std::vector<fs::path>{h.home, h.home.parent_path(), "/"}) {
    auto request = h.request();
    request.working_directory = folder;
    const auto view = view_of(request);
    CHECK_FALSE(view.working_directory_writable);
    CHECK_FALSE(has(view.writable, folder));
  }
}

TEST_CASE("known places of keys are hidden, and shown when shared") {
  const Home h;
  h.file(".aws/credentials");
  h.file(".netrc");
  h.file("project/.env");
  h.file("project/.env.example");
  h.file("project/a/b/.env.local");
  h.file("project/node_modules/x/.env");
  auto request = h.request();
  request.share = {h.home / ".netrc"};
  const auto view = view_of(request);
  CHECK(has(view.hidden, h.home / ".aws"));
  CHECK(has(view.hidden, h.project / ".env"));
  CHECK(has(view.hidden, h.project / "a/b/.env.local"));
  CHECK_FALSE(has(view.hidden, h.project / ".env.example"));
  CHECK_FALSE(has(view.hidden, h.project / "node_modules/x/.env"));
  CHECK_FALSE(has(view.hidden, h.home / ".netrc"));
  CHECK(has(view.visible, h.home / ".netrc"));
}

TEST_CASE("what a repository obeys is protected") {
  const Home h;
  h.file("project/.git/HEAD");
  h.file("project/.git/config");
  fs::create_directories(h.project / ".git/objects");
  h.file("project/.git/modules/lib/HEAD");
  fs::create_directories(h.project / ".git/modules/lib/objects");
  h.file("project/.git/modules/lib/config");
  const auto view = view_of(h.request());
  CHECK(has(view.writable, h.project / ".git"));
  CHECK(has(view.read_only, h.project / ".git/config"));
  CHECK(has(view.read_only, h.project / ".git/hooks"));  // made, so that nobody else makes it
  CHECK(has(view.read_only, h.project / ".git/modules"));
}

TEST_CASE("files that a configuration of git's names are protected") {
  const Home h;
  h.file("project/.git/HEAD");
  fs::create_directories(h.project / ".git/objects");
  h.file("project/.git/config",
         "[core]\n hooksPath = \"my hooks\" ; ours\n[include] path = ../inc/a # "
         "shared\n[Include]\n\tPath=~/project/inc/b\n");
  h.file(".gitconfig",
         "[includeIf \"gitdir:~/project/\"]\n path = ~/project/inc/c\n[core]\nattributesFile = attributes\n");
  for (const char* name : {"my hooks/x", "inc/a", "inc/b", "inc/c", "attributes", "bare/HEAD", "bare/config"}) {
    h.file(fs::path("project") / name);
  }
  fs::create_directories(h.project / "bare/objects");
  const auto view = view_of(h.request());
  for (const char* name : {"my hooks", "inc/a", "inc/b", "inc/c", "attributes", "bare/config", "bare/hooks"}) {
    INFO(name);
    CHECK(has(view.read_only, h.project / name));
  }
}

TEST_CASE("links and pipes that are called like keys") {
  const Home h;
  h.file("shared.env", "x");
  fs::permissions(h.home / "shared.env", fs::perms::owner_all);
  h.file("bin/tool", "#!/bin/sh\n");
  fs::create_symlink(h.home / "shared.env", h.project / ".env");
  fs::create_symlink(h.home / "bin/tool", h.project / ".env.tool");
  fs::create_symlink("/etc/passwd", h.project / ".env.system");
  REQUIRE(::mkfifo((h.project / ".env.local").c_str(), 0600) == 0);
  const auto view = view_of(h.request());
  CHECK(has(view.hidden, h.home / "shared.env"));
  CHECK(has(view.hidden, h.project / ".env.local"));
  CHECK_FALSE(has(view.hidden, h.home / "bin/tool"));
  CHECK_FALSE(has(view.hidden, "/etc/passwd"));
}

TEST_CASE("a .git file leads to a repository only when that one knows of it") {
  const Home h;
  h.file("main/.git/worktrees/project/gitdir", (h.project / ".git").string() + "\n");
  h.file("main/.git/worktrees/project/commondir", "../..\n");
  for (const char* name : {"main", "other"}) {
    h.file(fs::path(name) / ".git/HEAD");
    fs::create_directories(h.home / name / ".git/objects");
  }
  SECTION("its worktree") {
    h.file("project/.git", "gitdir: " + (h.home / "main/.git/worktrees/project").string() + "\n");
    const auto view = view_of(h.request());
    CHECK(has(view.writable, h.home / "main/.git"));
    CHECK(has(view.read_only, h.project / ".git"));
  }
  SECTION("not its worktree") {
    h.file("main/.git/worktrees/project/gitdir", "/elsewhere/.git\n");
    h.file("project/.git", "gitdir: " + (h.home / "main/.git/worktrees/project").string() + "\n");
    CHECK_FALSE(has(view_of(h.request()).writable, h.home / "main/.git"));
  }
  SECTION("a planted one") {
    h.file("project/.git", "gitdir: ../other/.git\n");
    CHECK_FALSE(has(view_of(h.request()).writable, h.home / "other/.git"));
  }
  SECTION("a planted one with a planted commondir") {
    h.file("project/fake/worktrees/x/commondir", (h.home / "other/.git").string());
    h.file("project/fake/worktrees/x/gitdir", (h.project / ".git").string());
    h.file("project/.git", "gitdir: fake/worktrees/x");
    CHECK_FALSE(has(view_of(h.request()).writable, h.home / "other/.git"));
  }
  SECTION("a planted link") {
    fs::create_directory_symlink(h.home / "other/.git", h.project / ".git");
    CHECK_FALSE(has(view_of(h.request()).writable, h.home / "other/.git"));
  }
  SECTION("nonsense") {
    h.file("project/.git", std::string("gitdir: \0x", 10));
    CHECK(view_of(h.request()).working_directory_writable);
  }
}

TEST_CASE("links lead the walls nowhere") {
  const Home h;
  h.file("elsewhere/file");
  fs::create_directory_symlink("/", h.project / ".vscode");
  fs::create_symlink(h.home / "elsewhere/file", h.project / ".envrc");
  fs::create_symlink("/usr/bin/env", h.project / ".env");
  h.file("project/config/mcp.json");
  fs::create_symlink("config/mcp.json", h.project / ".mcp.json");
  fs::create_directory_symlink(".", h.project / ".idea");
  fs::create_directory_symlink(h.home / "elsewhere", h.home / ".claude");
  const auto view = view_of(h.request());
  CHECK_FALSE(has(view.read_only, "/"));
  CHECK_FALSE(has(view.read_only, h.home / "elsewhere/file"));
  CHECK(has(view.read_only, h.project / "config/mcp.json"));
  CHECK_FALSE(has(view.read_only, h.project));
  CHECK_FALSE(has(view.hidden, fs::canonical("/usr/bin/env")));
  CHECK_FALSE(has(view.writable, h.home / "elsewhere"));
  CHECK_FALSE(place_at(h.project / ".vscode/etc"));
  CHECK(place_at(h.project));
}

TEST_CASE("which names are not made") {
  const Home h;
  h.file("project/.git/HEAD");
  h.file("project/.git/config", "[core]\nhooksPath = githooks\n[include]\npath = ../sub/team.inc\n");
  fs::create_directories(h.project / ".git/objects");
  h.file("project/prepared/config.toml");
  h.file("project/prepared/attributes");
  auto request = h.request();
  const auto obeyed = [&](const char* path) {
    const fs::path whole = (h.project / path).lexically_normal();
    return std::string(ReservedNames(view_of(request)).obeyed_at(whole).value_or("nobody"));
  };
  for (const auto& [path, program] :
       std::vector<std::pair<const char*, const char*>>{{".envrc", "direnv"},
                                                        {"sub/deep/.envrc", "direnv"},
                                                        {".EnvRC", "direnv"},
                                                        {".vscode", "VS Code"},
                                                        {"sub/.cargo/config.toml", "cargo"},
                                                        {".yarn/releases", "yarn"},
                                                        {".git/info/attributes", "git"},
                                                        {".git/commondir", "git"},
                                                        {".git/rebase-merge", "git"},
                                                        {".cargo", "nobody"},
                                                        {"config.toml", "nobody"},
                                                        {"x.cargo/config.toml", "nobody"},
                                                        {".envrc.example", "nobody"},
                                                        {"my.envrc", "nobody"},
                                                        {"info/attributes", "nobody"},
                                                        {"sub/config", "nobody"},
                                                        {".git/index.lock", "nobody"},
                                                        {".git/rebase-apply", "nobody"},
                                                        {"githooks", "a program"},
                                                        {"sub/team.inc", "a program"},
                                                        {"node_modules/x/.vscode", "nobody"},
                                                        {"sub/node_modules/x/.npmrc", "nobody"},
                                                        {"Node_Modules/.npmrc", "npm"},
                                                        {"../elsewhere/.envrc", "nobody"},
                                                        {"", "nobody"}}) {
    INFO(path);
    CHECK(obeyed(path) == program);
  }
  SECTION("with what is in a folder") {
    const ReservedNames names(view_of(request));
    const UniqueFd folder(::open((h.project / "prepared").c_str(), O_PATH));
    CHECK(names.obeyed_within(h.project / "sub/.cargo", folder) == "cargo");
    CHECK(names.obeyed_within(h.project / ".git/info", folder) == "git");
    CHECK(names.obeyed_within(h.project / ".vscode", folder) == "VS Code");
    CHECK_FALSE(names.obeyed_within(h.project / "info", folder));
    CHECK_FALSE(names.obeyed_within(h.project / "other", folder));
    CHECK_FALSE(names.obeyed_within(h.project / "node_modules/.cargo", folder));
  }
  SECTION("links, also on the way") {
    const ReservedNames names(view_of(request));
    for (const char* name : {".cargo", ".yarn", ".jj", "sub/.jj/repo", ".git/info", ".git/objects", "sub", ".envrc"}) {
      INFO(name);
      CHECK(names.obeyed_through(h.project / name));
    }
    CHECK_FALSE(names.obeyed_through(h.project / "other"));
    CHECK_FALSE(names.obeyed_through(h.project / "info"));
    CHECK_FALSE(names.obeyed_through(h.project / "node_modules/.cargo"));
  }
  SECTION("what --write names may be made, with everything below") {
    request.write = {h.project / ".vscode", h.project / ".cargo/config.toml"};
    CHECK(obeyed(".vscode") == "nobody");
    CHECK(obeyed(".vscode/.envrc") == "nobody");
    CHECK(obeyed(".cargo/config.toml") == "nobody");
    CHECK(obeyed("sub/.vscode") == "VS Code");
    CHECK(has(folders_without_making(view_of(request)), h.project));
  }
  SECTION("the whole project") {
    request.write = {h.project};
    CHECK(obeyed(".envrc") == "nobody");
    CHECK(folders_without_making(view_of(request)).empty());
  }
}

TEST_CASE("what a repository runs") {
  const Home h;
  const auto runs = [&](const std::string& configuration) {
    h.file("new/.git/config", configuration);
    return runs_programs(h.home / "new/.git");
  };
  h.file("new/.git/hooks/pre-commit.sample");
  CHECK_FALSE(runs("[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"a b\"]\n\turl = https://x/\n"));
  CHECK(runs("[core]\n\tbare = false\n[CORE] FSMonitor = evil\n") == "core.fsmonitor");
  CHECK(runs("[include]\npath=x\n") == "include.path");
  CHECK(runs("[remote \"origin\"]\n\tuploadpack = evil\n") == "remote.uploadpack");
  CHECK(runs("[core \"x\"] pager = evil\n") == "core.pager");
  h.file("new/.git/hooks/post-checkout");
  CHECK(runs("") == "hooks/post-checkout");
}

TEST_CASE("a folder full of files hides no key above it") {
  const Home h;
  for (int i = 0; i < 300; ++i) h.file("project/many/" + std::to_string(i));
  h.file("project/.env");
  h.file("project/many/.env");
  const auto view = view_of(h.request());
  CHECK(has(view.hidden, h.project / ".env"));
  CHECK(has(view.hidden, h.project / "many/.env"));
}

TEST_CASE("configuration is no project, and neither is a vault") {
  const Home h;
  for (const char* folder : {".config/app", ".local/bin"}) {
    fs::create_directories(h.home / folder);
    auto request = h.request();
    request.working_directory = h.home / folder;
    CHECK_FALSE(view_of(request).working_directory_writable);
  }
  auto request = h.request();
  request.hide = {h.home};
  CHECK_THROWS_AS(view_of(request), Error);
}

TEST_CASE("paths that the user names must exist") {
  const Home h;
  auto writing = h.request(), sharing = h.request();
  writing.write = {"/no/such/path"};
  sharing.share = {"/no/such/path"};
  CHECK_THROWS_AS(view_of(writing), Error);
  CHECK_THROWS_AS(view_of(sharing), Error);
}

TEST_CASE("a channel carries bytes, descriptors and the sender") {
  auto [ours, theirs] = Channel::make();
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const UniqueFd reads(ends[0]), writes(ends[1]);
  const Bytes big(300'000, 'x');
  // More than the socket takes at once: the other side reads meanwhile.
  std::thread sender([&, end = std::move(theirs)] { end.send(9, big, {writes.get()}); });
  auto message = ours.receive();
  sender.join();
  REQUIRE(message);
  CHECK(message->kind == 9);
  CHECK(message->bytes == big);
  CHECK(message->sender == ::getpid());
  REQUIRE(message->descriptors.size() == 1);
  CHECK(::write(message->descriptors[0].get(), "!", 1) == 1);
  char got = 0;
  CHECK(::read(reads.get(), &got, 1) == 1);
  CHECK_FALSE(ours.receive());  // the other side is gone
}

TEST_CASE("a furnishing arrives as it was sent, or not at all") {
  Furnishing sent;
  sent.environment = {"A=1", "B="};
  sent.files = {{"ca.pem", Bytes{1, 2, 3}}};
  sent.roots = {"bundle.pem", "ca.pem", "java.jks", "12345678.0"};
  sent.readable_files = {"/x"};
  sent.broker_ports = {1, 65535};
  sent.other_ports = {5432};
  const auto bytes = encode(sent);
  const auto got = decode_furnishing(bytes);
  CHECK(got.environment == sent.environment);
  CHECK(got.files.front().contents == sent.files.front().contents);
  CHECK(got.roots.hash == sent.roots.hash);
  CHECK(got.readable_files == sent.readable_files);
  CHECK(got.broker_ports == sent.broker_ports);
  CHECK(got.other_ports == sent.other_ports);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS(decode_furnishing(ByteView(bytes).first(size)));
  }
}

TEST_CASE("which agent a command line starts") {
  const auto started = [](std::vector<std::string> command) {
    std::string names;
    for (const auto* agent : agents_started_by(command)) names += std::string(agent->name) + ";";
    return names;
  };
  CHECK(started({"claude"}) == "Claude Code;");
  CHECK(started({"/opt/bin/claude", "-p", "codex"}) == "Claude Code;");
  CHECK(started({"sh", "-c", "cd x && FOO=1 claude -p 'hi'"}) == "Claude Code;");
  CHECK(started({"bash", "-lc", "claude; codex exec"}) == "Claude Code;Codex;");
  CHECK(started({"env", "-u", "X", "A=b", "timeout", "-k", "5", "10m", "codex"}) == "Codex;");
  CHECK(started({"npx", "-y", "@openai/codex@latest", "exec"}) == "Codex;");
  CHECK(started({"npx", "-p", "@openai/codex", "codex"}) == "Codex;");
  CHECK(started({"python3", "-m", "aider"}) == "Aider;");
  CHECK(started({"script", "-qc", "claude", "/dev/null"}) == "Claude Code;");
  CHECK(started({"sh", "-c", "exec \"$0\" \"$@\"", "/x/codex", "-q"}) == "Codex;");
  CHECK(started({"sh", "-c", "\"$@\"", "sh", "codex"}) == "Codex;");
  CHECK(started({"agentvault", "exec", "--agent", "claude", "--", "codex"}) == "Codex;");
  CHECK(started({"bash", "-o", "pipefail", "-c", "if true; then FOO=\"a b\" claude; fi"}) == "Claude Code;");
  CHECK(started({"sh", "-c", "while ! codex; do claude; done"}) == "Codex;Claude Code;");
  CHECK(started({"sh", "-c", "codex exec \"compare (claude vs gemini) & more\""}) == "Codex;");
  CHECK(started({"stdbuf", "-o", "L", "claude"}) == "Claude Code;");
  CHECK(started({"sh", "-c", "time -p claude"}) == "Claude Code;");
  // Words that are not the command.
  CHECK(started({"bash", "-c", ": 'compare (claude vs gemini) please; codex'"}).empty());
  CHECK(started({"bash", "-c", "cat <<E\nclaude\nE"}).empty());
  CHECK(started({"bash", "-c", "true # claude\n"}).empty());
  CHECK(started({"bash", "./script", "-c", "claude"}).empty());
  CHECK(started({"./claude"}).empty());
  CHECK(started({"sh", "-c", "'"}).empty());
  CHECK(started({"sh", "-c", "\\"}).empty());
  CHECK(started({}).empty());
  CHECK(started({"python", "agent.py", "--model", "claude"}).empty());
  CHECK(started({"sh", "-c", "./run.sh claude"}).empty());
  CHECK(started({"sh", "claude"}).empty());
  CHECK(started({"sh", "-c", "echo claude"}).empty());
  CHECK(started({"sh", "-c"}).empty());
  CHECK(started({"npm", "install", "@openai/codex"}).empty());
  CHECK(started({"env", "python", "claude"}).empty());
  CHECK(started({"env", "-u"}).empty());
  std::vector<std::string> deep{"codex"};
  for (int i = 0; i < 100; ++i) deep.insert(deep.begin(), "env");
  CHECK(started(deep).empty());
}

TEST_CASE("files of a project that hold keys") {
  for (const char* name : {".env", ".env.local", ".env~", ".ENV", ".env-x", "prod.env", ".envrc", "credentials.json",
                           "service-account-1.json", "a.p12", "id_rsa"}) {
    CHECK(is_named_like_keys(name));
  }
  for (const char* name : {".env.example", ".environment", "credentials.json.md", "id_rsa.pub", "a.pem", "env"}) {
    CHECK_FALSE(is_named_like_keys(name));
  }
  const Home h;
  h.file("key.pem", "x\n-----BEGIN EC PRIVATE KEY-----\n");
  h.file("cert.pem", "-----BEGIN CERTIFICATE-----\n");
  h.file("late.pem", std::string(100'000, 'x') + "PRIVATE KEY-----");
  CHECK(holds_keys(h.home / "key.pem"));
  CHECK_FALSE(holds_keys(h.home / "cert.pem"));
  CHECK_FALSE(holds_keys(h.home / "late.pem"));
  CHECK_FALSE(holds_keys(h.home / "none.pem"));
  CHECK_FALSE(holds_keys(h.home));
  REQUIRE(::mkfifo((h.home / "pipe.pem").c_str(), 0600) == 0);
  CHECK_FALSE(holds_keys(h.home / "pipe.pem"));
}
