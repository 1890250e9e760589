// What the user asked for, as plain structs. The only source that knows CLI11 fills them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "keys/vault_paths.hpp"
#include "tpm/transport.hpp"

namespace agentvault::cli {

struct Arguments {
  std::vector<std::string> command;  // "exec", or "token", "inspect"

  // Everywhere.
  std::filesystem::path vault;  // without links
  std::filesystem::path vault_as_named;
  std::string tpm;  // empty: as stored
  bool json = false;
  std::string log_level = "warning";
  std::string pin_file;

  // init, restore
  bool pin = false;
  bool no_rollback_protection = false;
  std::string pcr;
  std::string owner_password_file;

  // pin change, recovery set, backup, restore
  std::string new_pin_file;
  std::string passphrase_file;
  std::string new_passphrase_file;
  std::string file;

  // destroy
  bool yes = false;

  // rotate, revoke
  bool hard = false;
  std::string session;
  std::string revoked_agent;
  bool all = false;
  bool lift = false;

  // add, show, remove
  std::string name;
  std::string provider;
  std::string url;
  std::string inject;
  std::vector<std::string> env;
  std::vector<std::string> env_url;
  std::string ca_file;
  bool from_stdin = false;
  bool replace = false;

  // exec
  std::string agent = "default";
  std::vector<std::string> with;
  std::string ttl;
  std::string max_lifetime;
  std::optional<std::string> isolation;
  std::vector<std::string> write;
  std::vector<std::string> share;
  std::vector<std::string> keep;
  std::vector<std::string> reach;
  std::vector<std::uint16_t> publish;
  std::optional<std::string> egress;
  std::vector<std::string> take;
  std::string plan;
  bool quiet = false;
  bool verbose = false;
  std::vector<std::string> child;
  mode_t inherited_umask = 022;

  // token
  std::string token;
  std::string credential;
  std::vector<std::string> methods;
  std::vector<std::string> paths;
  std::string lifetime;
  std::string agent_name;
  std::optional<std::uint64_t> budget;
  std::optional<std::uint64_t> depth;

  // policy
  bool remove = false;
  bool readmit = false;
  std::string body_file;
  std::string content_type;
  std::vector<std::string> headers;
  std::string method;

  std::string old_file;
  std::string claim;
  std::string boundary_file;

  // approve, deny
  std::string question;
  bool whole_session = false;
  bool body = false;
  std::string duration;

  // doctor
  std::string probe;

  // completion
  std::string shell;

  keys::VaultPaths paths_of_vault() const { return {vault, vault_as_named}; }
  /// --tpm, where it was given.
  std::optional<tpm::TransportName> tpm_override() const;
};

/// Nothing: help or the version was asked for and has been printed. Throws Error(usage).
std::optional<Arguments> parse_arguments(int argc, char** argv);

/// One command with what may follow it, for completion scripts: the parser's own tree, so that they cannot disagree.
struct CommandShape {
  std::string name;  // "" at the top
  std::string description;
  std::vector<std::string> options;  // "--with"
  std::vector<CommandShape> commands;
};
CommandShape command_shape();

}  // namespace agentvault::cli
