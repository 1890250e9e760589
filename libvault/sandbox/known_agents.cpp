#include "sandbox/known_agents.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace agentvault::sandbox {
namespace {

using View = std::string_view;

template <class... Names>
constexpr auto list(Names... names) {
  return std::array<View, sizeof...(Names)>{View(names)...};
}

struct Claude {
  static constexpr auto programs = list("claude", "@anthropic-ai/claude-code");
  static constexpr auto state = list(".claude", ".claude.json", ".claude.json.backup", ".local/share/claude",
                                     ".local/state/claude", ".cache/claude", ".cache/claude-cli-nodejs");
  static constexpr auto first = list(".claude");
  static constexpr auto kept = list(
      ".claude/settings.json", ".claude/settings.local.json", ".claude/remote-settings.json", ".claude/.config.json",
      ".claude/CLAUDE.md", ".claude/rules", ".claude/commands", ".claude/agents", ".claude/skills", ".claude/hooks",
      ".claude/plugins", ".claude/output-styles", ".claude/workflows", ".claude/keybindings.json", ".claude/loop.md",
      ".claude/daemon.json", ".claude/daemon", ".claude/local", ".local/share/claude");
};
struct Codex {
  static constexpr auto programs = list("codex", "@openai/codex");
  static constexpr auto state = list(".codex");
  static constexpr auto first = list(".codex");
  static constexpr auto kept =
      list(".codex/managed_config.toml", ".codex/hooks.json", ".codex/hooks", ".codex/AGENTS.md",
           ".codex/AGENTS.override.md", ".codex/instructions.md", ".codex/prompts", ".codex/agents", ".codex/rules",
           ".codex/plugins", ".codex/environments.toml");
};
struct Gemini {
  static constexpr auto programs = list("gemini", "@google/gemini-cli");
  static constexpr auto state = list(".gemini");
  static constexpr auto first = list(".gemini");
  static constexpr auto kept =
      list(".gemini/trusted_hooks.json", ".gemini/commands", ".gemini/skills", ".gemini/agents", ".gemini/extensions",
           ".gemini/policies", ".gemini/mcp-server-enablement.json", ".gemini/.env", ".gemini/trustedFolders.json",
           ".gemini/GEMINI.md");
};
struct Qwen {
  static constexpr auto programs = list("qwen", "@qwen-code/qwen-code");
  static constexpr auto state = list(".qwen");
  static constexpr auto first = list(".qwen");
  static constexpr auto kept =
      list(".qwen/QWEN.md", ".qwen/commands", ".qwen/skills", ".qwen/agents", ".qwen/extensions",
           ".qwen/statusline-command.sh", ".qwen/trustedFolders.json", ".qwen/locales", ".qwen/.env");
};
struct Opencode {
  static constexpr auto programs = list("opencode", "opencode-ai");
  static constexpr auto state =
      list(".config/opencode", ".local/share/opencode", ".local/state/opencode", ".cache/opencode", ".opencode");
  static constexpr auto first =
      list(".config/opencode", ".local/share/opencode", ".local/state/opencode", ".cache/opencode");
  static constexpr auto kept =
      list(".config/opencode/opencode.json", ".config/opencode/opencode.jsonc", ".config/opencode/config.json",
           ".config/opencode/tui.json", ".config/opencode/AGENTS.md", ".config/opencode/plugin",
           ".config/opencode/plugins", ".config/opencode/tool", ".config/opencode/tools", ".config/opencode/command",
           ".config/opencode/commands", ".config/opencode/agent", ".config/opencode/agents", ".config/opencode/mode",
           ".config/opencode/modes", ".config/opencode/skill", ".config/opencode/skills", ".opencode/bin");
};
struct Kilo {
  static constexpr auto programs = list("kilo", "kilocode", "@kilocode/cli");
  static constexpr auto state = list(".config/kilo", ".local/share/kilo", ".local/state/kilo", ".cache/kilo", ".kilo",
                                     ".kilocode", ".kilocodemodes");
  static constexpr auto first = list(".config/kilo", ".local/share/kilo", ".local/state/kilo", ".cache/kilo");
  static constexpr auto kept =
      list(".config/kilo/kilo.json", ".config/kilo/kilo.jsonc", ".config/kilo/opencode.json",
           ".config/kilo/config.json", ".config/kilo/command", ".config/kilo/plugin", ".config/kilo/tool",
           ".kilo/workflows", ".kilocode/workflows", ".kilocode/command", ".kilocodemodes");
};
struct Cline {
  static constexpr auto programs = list("cline");
  static constexpr auto state = list(".cline");
  static constexpr auto first = list(".cline", ".cline/data");
  static constexpr auto kept = list(".cline/hooks", ".cline/rules", ".cline/workflows", ".cline/skills",
                                    ".cline/plugins", ".cline/agents", ".cline/data/settings/cline_mcp_settings.json");
};
struct Amp {
  static constexpr auto programs = list("amp", "@ampcode/cli", "@sourcegraph/amp");
  static constexpr auto state = list(".config/amp", ".local/share/amp", ".local/state/amp", ".cache/amp", ".amp");
  static constexpr auto first = list(".config/amp", ".local/share/amp", ".local/state/amp", ".cache/amp", ".amp");
  static constexpr auto kept =
      list(".config/amp/settings.json", ".config/amp/settings.jsonc", ".config/amp/AGENTS.md", ".config/amp/tools",
           ".config/amp/plugins", ".config/amp/skills", ".config/amp/commands", ".config/amp/checks", ".amp/bin");
};
struct Copilot {
  static constexpr auto programs = list("copilot", "@github/copilot");
  static constexpr auto state = list(".copilot", ".config/github-copilot", ".cache/copilot", ".local/state/.copilot");
  static constexpr auto first = list(".copilot", ".cache/copilot", ".local/state/.copilot");
  static constexpr auto kept =
      list(".copilot/mcp-config.json", ".copilot/lsp-config.json", ".copilot/hooks", ".copilot/settings.json",
           ".copilot/extensions", ".copilot/installed-plugins", ".copilot/agents", ".copilot/skills",
           ".copilot/copilot-instructions.md", ".copilot/instructions", ".copilot/permissions-config.json",
           ".copilot/providers.json");
};
struct Continue {
  static constexpr auto programs = list("cn", "@continuedev/cli");
  static constexpr auto state = list(".continue");
  static constexpr auto first = list(".continue");
  static constexpr auto kept =
      list(".continue/config.yaml", ".continue/config.json", ".continue/config.ts", ".continue/settings.json",
           ".continue/skills", ".continue/rules", ".continue/prompts", ".continue/agents", ".continue/assistants",
           ".continue/mcpServers");
};
struct Pi {
  static constexpr auto programs = list("pi", "@mariozechner/pi-coding-agent");
  static constexpr auto state = list(".pi");
  static constexpr auto first = list(".pi", ".pi/agent");
  static constexpr auto kept =
      list(".pi/agent/extensions", ".pi/agent/skills", ".pi/agent/prompts", ".pi/agent/themes", ".pi/agent/git",
           ".pi/agent/npm", ".pi/agent/tools", ".pi/agent/models.json", ".pi/agent/keybindings.json",
           ".pi/agent/AGENTS.md", ".pi/agent/SYSTEM.md", ".pi/agent/APPEND_SYSTEM.md");
};
struct Goose {
  static constexpr auto programs = list("goose", "goosed");
  static constexpr auto state = list(".config/goose", ".local/share/goose", ".local/state/goose", ".cache/goose");
  static constexpr auto first = list(".config/goose", ".local/share/goose", ".local/state/goose");
  static constexpr auto kept = list(".config/goose/.goosehints", ".config/goose/AGENTS.md", ".config/goose/prompts",
                                    ".config/goose/recipes", ".config/goose/custom_providers", ".config/goose/skills",
                                    ".local/share/goose/schedule.json", ".local/share/goose/scheduled_recipes");
};
struct Aider {
  static constexpr auto programs = list("aider", "aider-chat");
  static constexpr auto state =
      list(".aider", ".aider.conf.yml", ".aider.model.settings.yml", ".aider.model.metadata.json");
  static constexpr auto first = list(".aider", ".aider/caches");
  static constexpr auto kept = list(".aider.conf.yml", ".aider.model.settings.yml", ".aider.model.metadata.json");
};
struct Crush {
  static constexpr auto programs = list("crush", "@charmland/crush");
  static constexpr auto state = list(".config/crush", ".local/share/crush", ".cache/crush");
  static constexpr auto first = list(".config/crush", ".local/share/crush", ".cache/crush");
  static constexpr auto kept = list(".config/crush/crush.json", ".config/crush/crushrc", ".config/crush/CRUSH.md",
                                    ".config/crush/skills", ".config/crush/commands");
};
struct Cursor {
  static constexpr auto programs = list("cursor-agent");
  static constexpr auto state =
      list(".cursor", ".config/cursor", ".cursor-agent", ".local/share/cursor-agent", ".cache/cursor-agent");
  static constexpr auto first = list(".cursor", ".config/cursor", ".local/share/cursor-agent");
  static constexpr auto kept =
      list(".cursor/cli-config.json", ".cursor/mcp.json", ".cursor/hooks.json", ".cursor/hooks", ".cursor/commands",
           ".cursor/rules", ".cursor/skills", ".cursor/agents", ".cursor/plugins", ".cursor/extensions",
           ".local/share/cursor-agent/versions");
};
struct Kiro {
  static constexpr auto programs = list("kiro-cli", "kiro", "qchat");
  static constexpr auto state =
      list(".kiro", ".local/share/kiro-cli", ".local/share/amazon-q", ".cache/kiro-cli", ".cache/amazon-q");
  static constexpr auto first = list(".kiro", ".local/share/kiro-cli");
  static constexpr auto kept = list(".kiro/settings", ".kiro/agents", ".kiro/steering", ".kiro/prompts", ".kiro/skills",
                                    ".kiro/hooks", ".kiro/powers");
};
struct Openhands {
  static constexpr auto programs = list("openhands");
  static constexpr auto state = list(".openhands", ".openhands-state");
  static constexpr auto first = list(".openhands");
  static constexpr auto kept =
      list(".openhands/mcp.json", ".openhands/hooks.json", ".openhands/skills", ".openhands/microagents");
};
struct Auggie {
  static constexpr auto programs = list("auggie", "@augmentcode/auggie");
  static constexpr auto state = list(".augment");
  static constexpr auto first = list(".augment");
  static constexpr auto kept = list(".augment/commands", ".augment/agents", ".augment/rules", ".augment/skills",
                                    ".augment/plugins", ".augment/binaries", ".augment/user-guidelines.md");
};
struct Droid {
  static constexpr auto programs = list("droid");
  static constexpr auto state = list(".factory", ".agent-browser");
  static constexpr auto first = list(".factory");
  static constexpr auto kept =
      list(".factory/settings.local.json", ".factory/hooks.json", ".factory/mcp.json", ".factory/hooks",
           ".factory/commands", ".factory/droids", ".factory/skills", ".factory/plugins", ".factory/crons",
           ".factory/automations", ".factory/output-styles", ".factory/bin", ".factory/AGENTS.md");
};
struct Plandex {
  static constexpr auto programs = list("plandex", "pdx");
  static constexpr auto state = list(".plandex-home-v2", ".plandex-home");
  static constexpr auto first = list(".plandex-home-v2");
  static constexpr std::array<View, 0> kept{};
};
struct Forge {
  static constexpr auto programs = list("forgecode");
  static constexpr auto state = list(".forge");
  static constexpr auto first = list(".forge");
  static constexpr auto kept = list(".forge/.mcp.json", ".forge/agents", ".forge/commands", ".forge/skills",
                                    ".forge/AGENTS.md", ".forge/permissions.yaml");
};
struct Grok {
  static constexpr auto programs = list("grok", "@vibe-kit/grok-cli");
  static constexpr auto state = list(".grok");
  static constexpr auto first = list(".grok");
  static constexpr auto kept = list(".grok/GROK.md", ".grok/models.json");
};
struct Iflow {
  static constexpr auto programs = list("iflow");
  static constexpr auto state = list(".iflow");
  static constexpr auto first = list(".iflow");
  static constexpr auto kept =
      list(".iflow/IFLOW.md", ".iflow/commands", ".iflow/agents", ".iflow/workflows", ".iflow/hooks");
};
struct Codebuff {
  static constexpr auto programs = list("codebuff", "cb", "freebuff");
  static constexpr auto state = list(".config/manicode", ".codebuff");
  static constexpr auto first = list(".config/manicode");
  static constexpr std::array<View, 0> kept{};
};
struct Vibe {
  static constexpr auto programs = list("vibe", "vibe-acp");
  static constexpr auto state = list(".vibe");
  static constexpr auto first = list(".vibe", ".vibe/logs");
  static constexpr auto kept =
      list(".vibe/hooks.toml", ".vibe/agents", ".vibe/prompts", ".vibe/tools", ".vibe/skills", ".vibe/AGENTS.md");
};
struct Letta {
  static constexpr auto programs = list("letta", "@letta-ai/letta-code");
  static constexpr auto state = list(".letta", ".letta_backup");
  static constexpr auto first = list(".letta");
  static constexpr auto kept = list(".letta/skills", ".letta/statusline-command.sh", ".letta/channels");
};
struct Qoder {
  static constexpr auto programs = list("qodercli", "@qoder-ai/qodercli");
  static constexpr auto state = list(".qoder", ".qoder.json", ".qoder-cli", ".cosy", ".aicodestats", ".qodersec");
  static constexpr auto first = list(".qoder");
  static constexpr auto kept = list(".qoder/settings.json", ".qoder/AGENTS.md", ".qoder/commands", ".qoder/agents",
                                    ".qoder/skills", ".qoder/plugins", ".qoder/hooks");
};
struct Kimi {
  static constexpr auto programs = list("kimi");
  static constexpr auto state = list(".kimi", ".kimi-code");
  static constexpr auto first = list(".kimi");
  static constexpr std::array<View, 0> kept{};
};
struct Junie {
  static constexpr auto programs = list("junie");
  static constexpr auto state = list(".junie");
  static constexpr auto first = list(".junie");
  static constexpr std::array<View, 0> kept{};
};
struct Windsurf {
  static constexpr auto programs = list("windsurf");
  static constexpr auto state = list(".codeium");
  static constexpr auto first = list(".codeium");
  static constexpr std::array<View, 0> kept{};
};
struct Llm {
  static constexpr auto programs = list("llm");
  static constexpr auto state = list(".config/io.datasette.llm");
  static constexpr auto first = list(".config/io.datasette.llm");
  static constexpr std::array<View, 0> kept{};
};
struct Gptme {
  static constexpr auto programs = list("gptme");
  static constexpr auto state = list(".config/gptme", ".local/share/gptme");
  static constexpr auto first = list(".config/gptme", ".local/share/gptme");
  static constexpr auto kept = list(".config/gptme/config.toml");
};
struct Openclaw {
  static constexpr auto programs = list("openclaw");
  static constexpr auto state = list(".openclaw");
  static constexpr auto first = list(".openclaw");
  static constexpr std::array<View, 0> kept{};
};
struct Interpreter {
  static constexpr auto programs = list("interpreter");
  static constexpr auto state = list(".config/open-interpreter");
  static constexpr auto first = list(".config/open-interpreter");
  static constexpr std::array<View, 0> kept{};
};

template <class Agent>
constexpr KnownAgent known(View name) {
  return {name, Agent::programs, Agent::state, Agent::first, Agent::kept};
}

constexpr std::array kAgents{known<Claude>("Claude Code"),
                             known<Codex>("Codex"),
                             known<Gemini>("Gemini CLI"),
                             known<Qwen>("Qwen Code"),
                             known<Opencode>("opencode"),
                             known<Kilo>("Kilo Code"),
                             known<Cline>("Cline"),
                             known<Amp>("Amp"),
                             known<Copilot>("Copilot CLI"),
                             known<Continue>("Continue"),
                             known<Pi>("pi"),
                             known<Goose>("Goose"),
                             known<Aider>("Aider"),
                             known<Crush>("Crush"),
                             known<Cursor>("Cursor CLI"),
                             known<Kiro>("Kiro"),
                             known<Openhands>("OpenHands"),
                             known<Auggie>("Auggie"),
                             known<Droid>("Droid"),
                             known<Plandex>("Plandex"),
                             known<Forge>("Forge"),
                             known<Grok>("Grok CLI"),
                             known<Iflow>("iFlow"),
                             known<Codebuff>("Codebuff"),
                             known<Vibe>("Vibe"),
                             known<Letta>("Letta Code"),
                             known<Qoder>("Qoder"),
                             known<Kimi>("Kimi"),
                             known<Junie>("Junie"),
                             known<Windsurf>("Windsurf"),
                             known<Llm>("llm"),
                             known<Gptme>("gptme"),
                             known<Openclaw>("OpenClaw"),
                             known<Interpreter>("Open Interpreter")};

constexpr auto kShells = list("sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox");
/// They start the command that follows their options.
constexpr auto kPrefixes = list("env", "exec", "command", "timeout", "nice", "ionice", "nohup", "setsid", "stdbuf",
                                "script", "unbuffer", "xvfb-run", "npx", "bunx", "pnpx", "uvx", "dbus-run-session",
                                "ssh-agent", "strace", "dotenv", "chronic", "agentvault");
constexpr auto kInterpreters = list("python", "python3", "node");
/// Of those that start others: options whose next word is a value.
constexpr auto kWithValue = list("-u", "--unset", "-C", "--chdir", "-n", "-c", "-k", "-s", "-o", "-p", "--package");
/// Of the shell's, in front of a command.
constexpr auto kKeywords = list("if", "then", "elif", "else", "while", "until", "do", "!", "time", "-p");
constexpr std::size_t kMostNested = 8;

template <class List>
bool has(const List& names, View name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

View base_name(View path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

/// "claude@latest", "@anthropic-ai/claude-code@2".
View without_version(View word) {
  const auto at = word.find('@', 1);
  return word.substr(0, at);
}

/// A program of the project's own may be called like one.
const KnownAgent* agent_called(View word) {
  if (word.starts_with("./") || word.starts_with("../")) return nullptr;
  for (const auto& agent : kAgents) {
    for (const View called : {base_name(word), without_version(word), without_version(base_name(word))}) {
      if (has(agent.programs, called)) return &agent;
    }
  }
  return nullptr;
}

bool is_assignment(View word) {
  const auto equals = word.find('=');
  return equals != View::npos && equals > 0 && word.front() != '-' && word.find('/') > equals;
}

/// "10", "0.5m": what timeout takes in front of its command.
bool is_duration(View word) {
  if (word.empty() || !is_digit(word.front())) return false;
  return word.find_first_not_of("0123456789.") >= word.size() - 1;
}

/// The command that another starts: what follows "--", or the first word that is neither an option nor a value of one.
std::span<const std::string> behind_options(std::span<const std::string> words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  if (end != words.end()) return {std::next(end), words.end()};
  while (!words.empty()) {
    const View word = words.front();
    const bool is_option = word.starts_with('-');
    if (!is_option && !is_assignment(word) && !is_duration(word)) return words;
    words = words.subspan(std::min<std::size_t>(words.size(), is_option && has(kWithValue, word) ? 2 : 1));
  }
  return words;
}

/// Simple commands of a script, as words. What stands in quotes is one word; what follows a here-document is not read.
std::vector<std::vector<std::string>> commands_in(View script) {
  std::vector<std::vector<std::string>> commands(1);
  std::string word;
  bool in_word = false;
  char quote = 0;
  const auto end_word = [&] {
    if (in_word) commands.back().push_back(std::move(word));
    word.clear();
    in_word = false;
  };
  script = script.substr(0, script.find("<<"));
  for (std::size_t i = 0; i < script.size(); ++i) {
    const char c = script[i];
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word.push_back(c);
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == '\\' && i + 1 < script.size()) {
      word.push_back(script[++i]);
      in_word = true;
    } else if (View(";|&\n(){}`").find(c) != View::npos) {
      end_word();
      commands.emplace_back();
    } else if (c == ' ' || c == '\t') {
      end_word();
    } else if (c == '#' && !in_word) {
      i = std::min(script.find('\n', i), script.size()) - 1;
    } else {
      word.push_back(c);
      in_word = true;
    }
  }
  end_word();
  return commands;
}

void collect(std::span<const std::string> words, std::size_t depth, std::vector<const KnownAgent*>& found);

/// Words of a script with its parameters in them: "$0", "$1", "$@".
std::vector<std::string> with_parameters(const std::vector<std::string>& words, std::span<const std::string> given) {
  std::vector<std::string> out;
  for (const auto& word : words) {
    if (word == "$@" || word == "$*") {
      if (!given.empty()) out.insert(out.end(), std::next(given.begin()), given.end());
    } else if (word.size() == 2 && word.front() == '$' && is_digit(word[1])) {
      const auto number = static_cast<std::size_t>(word[1] - '0');
      if (number < given.size()) out.push_back(given[number]);
    } else {
      out.push_back(word);
    }
  }
  return out;
}

/// A shell's, or one that calls a shell: what follows "-c", "-lc", "-qc" and so on. What follows a script's name is the
/// script's.
bool collect_from_option(std::span<const std::string> words, std::size_t depth, std::vector<const KnownAgent*>& found) {
  for (std::size_t i = 1; i + 1 < words.size(); ++i) {
    const View word = words[i];
    if (word.size() < 2 || (word.front() != '-' && word.front() != '+')) return false;
    if (word == "-o" || word == "+o" || word == "-O" || word == "+O") ++i;
    if (word.front() != '-' || word[1] == '-' || word.find('c') == View::npos) continue;
    for (const auto& command : commands_in(words[i + 1])) {
      collect(with_parameters(command, words.subspan(i + 2)), depth + 1, found);
    }
    return true;
  }
  return false;
}

void collect(std::span<const std::string> words, std::size_t depth, std::vector<const KnownAgent*>& found) {
  while (!words.empty() && (is_assignment(words.front()) || has(kKeywords, View(words.front())))) {
    words = words.subspan(1);
  }
  if (words.empty() || depth > kMostNested) return;
  const View name = base_name(words.front());
  if (const auto* agent = agent_called(words.front())) {
    if (std::find(found.begin(), found.end(), agent) == found.end()) found.push_back(agent);
    return;
  }
  if (has(kShells, name)) {
    collect_from_option(words, depth, found);
    return;
  }
  if (has(kInterpreters, name) && words.size() > 2 && words[1] == "-m") return collect(words.subspan(2), depth, found);
  if (!has(kPrefixes, name) || (name == "script" && collect_from_option(words, depth, found))) return;
  collect(behind_options(words.subspan(1)), depth + 1, found);
}

}  // namespace

std::span<const KnownAgent> known_agents() {
  return kAgents;
}

std::vector<const KnownAgent*> agents_started_by(const std::vector<std::string>& command) {
  std::vector<const KnownAgent*> found;
  collect(command, 0, found);
  return found;
}

}  // namespace agentvault::sandbox
