// Opening the vault that the command line names.
#pragma once

#include "arguments.hpp"
#include "keys/vault.hpp"
#include "session/withdraw.hpp"

namespace agentvault::cli {

/// For a change: locked, with the PIN from where the command line says or from the terminal.
keys::Vault open_vault_for_change(const Arguments& arguments, const std::vector<store::Intent>& intents = {});
/// Asked before anything is locked, where the vault has one: others must not wait for somebody who types.
keys::PinSource ask_pin_now(const Arguments& arguments);
/// With a PIN that was asked for before.
keys::Vault open_vault_for_change(const Arguments& arguments, const keys::PinSource& pin,
                                  const std::vector<store::Intent>& intents = {});

/// After a barrier: what has become of older copies of the vault.
void report_barrier(const keys::Vault& vault);

/// Tells every running session that a credential is gone from the vault. One that does not answer is named.
void withdraw_credential(const keys::VaultPaths& paths, const std::string& name);

/// Says which sessions were stopped.
void report_stopped(const session::Withdrawn& result);

/// Ends every running session's authority, or those of one agent, and says which those were.
void stop_sessions(const keys::VaultPaths& paths, const std::string& agent = "");

}  // namespace agentvault::cli
