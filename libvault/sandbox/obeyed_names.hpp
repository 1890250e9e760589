// Names that programs outside of a session obey when they find them in a project: each with one program that does. An
// agent reads them, and neither changes nor makes them, unless --write gives one back. Plain project content, which
// every build runs anyway (Makefile, package.json), is not among them.
#pragma once

#include <array>
#include <string_view>

namespace agentvault::sandbox {

struct ObeyedName {
  std::string_view name;  // a file or folder, in any folder of the project
  std::string_view program;
};

inline constexpr std::array kObeyedNames{
    // shells and what they load on the way into a folder
    ObeyedName{".envrc", "direnv"}, ObeyedName{"mise.toml", "mise"}, ObeyedName{".mise.toml", "mise"},
    ObeyedName{"mise.local.toml", "mise"}, ObeyedName{".mise", "mise"}, ObeyedName{".autoenv", "autoenv"},
    // editors
    ObeyedName{".vscode", "VS Code"}, ObeyedName{".devcontainer", "Dev Containers"},
    ObeyedName{".devcontainer.json", "Dev Containers"}, ObeyedName{".idea", "JetBrains IDEs"},
    ObeyedName{".run", "JetBrains IDEs"}, ObeyedName{".fleet", "Fleet"}, ObeyedName{".zed", "Zed"},
    ObeyedName{".vs", "Visual Studio"}, ObeyedName{".helix", "Helix"}, ObeyedName{".exrc", "vim"},
    ObeyedName{".vimrc", "vim"}, ObeyedName{".nvimrc", "Neovim"}, ObeyedName{".nvim.lua", "Neovim"},
    ObeyedName{".lvimrc", "vim-localvimrc"}, ObeyedName{".dir-locals.el", "Emacs"},
    ObeyedName{".dir-locals-2.el", "Emacs"},
    // debuggers and consoles
    ObeyedName{".gdbinit", "gdb"}, ObeyedName{".lldbinit", "lldb"}, ObeyedName{".pdbrc", "pdb"},
    ObeyedName{".Rprofile", "R"}, ObeyedName{".ghci", "ghci"}, ObeyedName{".iex.exs", "iex"},
    ObeyedName{".ocamlinit", "ocaml"}, ObeyedName{".irbrc", "irb"}, ObeyedName{".pryrc", "pry"},
    // what package managers run in place of themselves, or besides
    ObeyedName{".npmrc", "npm"}, ObeyedName{".yarnrc.yml", "yarn"}, ObeyedName{".yarnrc", "yarn"},
    ObeyedName{".yarn/releases", "yarn"}, ObeyedName{".yarn/plugins", "yarn"}, ObeyedName{".pnpmfile.cjs", "pnpm"},
    ObeyedName{".pnpmfile.mjs", "pnpm"}, ObeyedName{"bunfig.toml", "bun"}, ObeyedName{".bunfig.toml", "bun"},
    ObeyedName{".cargo/config.toml", "cargo"}, ObeyedName{".cargo/config", "cargo"},
    ObeyedName{".mvn/jvm.config", "mvn"}, ObeyedName{".mvn/maven.config", "mvn"},
    ObeyedName{".mvn/extensions.xml", "mvn"}, ObeyedName{".bundle/config", "bundler"}, ObeyedName{".bazelrc", "bazel"},
    // hooks of version control
    ObeyedName{".husky", "git, by husky"}, ObeyedName{".githooks", "git, by core.hooksPath"},
    ObeyedName{"lefthook.yml", "lefthook"}, ObeyedName{".lefthook.yml", "lefthook"},
    ObeyedName{".pre-commit-config.yaml", "pre-commit"}, ObeyedName{".overcommit.yml", "overcommit"},
    ObeyedName{".hg/hgrc", "hg"}, ObeyedName{".jj/repo/config.toml", "jj"},
    // agents that are started here later
    ObeyedName{".mcp.json", "Claude Code"}, ObeyedName{".claude", "Claude Code"}, ObeyedName{".codex", "Codex"},
    ObeyedName{".cursor", "Cursor"}, ObeyedName{".gemini", "Gemini CLI"}, ObeyedName{".qwen", "Qwen Code"},
    ObeyedName{".opencode", "opencode"}, ObeyedName{"opencode.json", "opencode"},
    ObeyedName{"opencode.jsonc", "opencode"}, ObeyedName{".kiro", "Kiro"}, ObeyedName{".clinerules", "Cline"},
    ObeyedName{".cline", "Cline"}, ObeyedName{".continue", "Continue"}, ObeyedName{".pi", "pi"},
    ObeyedName{".factory", "Droid"}, ObeyedName{".augment", "Auggie"}, ObeyedName{".crush.json", "Crush"},
    ObeyedName{"crush.json", "Crush"}, ObeyedName{".aider.conf.yml", "Aider"}, ObeyedName{".goosehints", "Goose"}};

/// Likewise in a folder of git's: what has it run programs. Unfinished work has a list of its own commands.
inline constexpr std::array kObeyedGitPaths{
    std::string_view("config"),      std::string_view("config.worktree"),
    std::string_view("hooks"),       std::string_view("info/attributes"),
    std::string_view("commondir"),   std::string_view("gitdir"),
    std::string_view("modules"),     std::string_view("remotes"),
    std::string_view("branches"),    std::string_view("objects/info/alternates"),
    std::string_view("rebase-merge")};

/// Packages of others: nobody starts there.
inline constexpr std::string_view kPackageFolder = "node_modules";

}  // namespace agentvault::sandbox
