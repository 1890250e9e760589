#include "completion_script.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

namespace agentvault::cli {
namespace {

/// Calls `visit(words, shape)` for every command, "exec" as well as "token inspect".
template <class Visit>
void walk(const CommandShape& shape, const std::string& words, Visit visit) {
  visit(words, shape);
  for (const auto& command : shape.commands)
    walk(command, words.empty() ? command.name : words + " " + command.name, visit);
}

std::string choices(const CommandShape& shape, const CommandShape& top) {
  std::vector<std::string> words;
  for (const auto& command : shape.commands) words.push_back(command.name);
  words.insert(words.end(), shape.options.begin(), shape.options.end());
  if (&shape != &top) words.insert(words.end(), top.options.begin(), top.options.end());
  return join(words, " ");
}

std::string table(const CommandShape& top) {
  std::string out;
  walk(top, "", [&](const std::string& words, const CommandShape& shape) {
    out += "    \"" + words + "\") choices=\"" + choices(shape, top) + "\" ;;\n";
  });
  return out;
}

std::string command_words(const CommandShape& top) {
  std::string out;
  walk(top, "",
       [&](const std::string& words, const CommandShape&) { out += (out.empty() ? "" : "|") + ("\"" + words + "\""); });
  return out;
}

/// Finds the command among the words so far; shared by bash and zsh, which both understand it.
std::string find_command(const CommandShape& top, const char* words) {
  return std::string("  local command=\"\" word candidate choices\n  for word in \"${") + words +
         "}\"; do\n    candidate=\"${command:+$command }$word\"\n    case \"$candidate\" in " + command_words(top) +
         ") command=\"$candidate\" ;; esac\n  done\n  case \"$command\" in\n" + table(top) + "  esac\n";
}

std::string bash(const CommandShape& top) {
  return "# bash completion for agentvault\n_agentvault() {\n" + find_command(top, "COMP_WORDS[@]:1:COMP_CWORD-1") +
         "  case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n"
         "    --vault|--ca-file|--pin-file) COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\")); return ;;\n"
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$choices\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
         "complete -o default -F _agentvault agentvault\n";
}

std::string zsh(const CommandShape& top) {
  return "#compdef agentvault\n_agentvault() {\n" + find_command(top, "words[@]:1:$((CURRENT-2))") +
         "  compadd -- ${=choices}\n  _files\n}\ncompdef _agentvault agentvault\n";
}

/// Between single quotes of fish's.
std::string quoted_inside(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string{c};
  return out;
}

std::string fish(const CommandShape& top) {
  std::string out = "# fish completion for agentvault\n";
  walk(top, "", [&](const std::string& words, const CommandShape& shape) {
    std::string seen = "__fish_use_subcommand";
    if (!words.empty())
      seen = "__fish_seen_subcommand_from " +
             words.substr(words.rfind(' ') == std::string::npos ? 0 : words.rfind(' ') + 1);
    for (const auto& command : shape.commands) {
      out += "complete -c agentvault -f -n '" + seen + "' -a " + command.name + " -d '" +
             quoted_inside(command.description) + "'\n";
    }
    for (const auto& option : shape.options) {
      out += "complete -c agentvault " + (words.empty() ? "" : "-n '" + seen + "' ") + "-l " + option.substr(2) + "\n";
    }
  });
  return out;
}

}  // namespace

std::string completion_script(const std::string& shell, const CommandShape& shape) {
  if (shell == "bash") return bash(shape);
  if (shell == "zsh") return zsh(shape);
  if (shell == "fish") return fish(shape);
  throw Error(ErrorKind::usage, "no completion for the shell \"" + printable(shell) + "\"", "use bash, zsh or fish");
}

}  // namespace agentvault::cli
