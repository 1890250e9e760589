// One function a command, one file a function. Each returns the exit code and throws Error.
#pragma once

#include "arguments.hpp"
#include "keys/vault_init.hpp"

namespace agentvault::cli {

/// What init and restore have in common.
keys::NewVault new_vault(const Arguments& arguments);

int run_add(const Arguments& arguments);
int run_approve(const Arguments& arguments);
int run_backup(const Arguments& arguments);
int run_completion(const Arguments& arguments);
int run_deny(const Arguments& arguments);
int run_doctor(const Arguments& arguments);
int run_exec(const Arguments& arguments);
int run_init(const Arguments& arguments);
int run_list(const Arguments& arguments);
int run_pin_change(const Arguments& arguments);
int run_policy_apply(const Arguments& arguments);
int run_policy_check(const Arguments& arguments);
int run_policy_diff(const Arguments& arguments);
int run_policy_explain(const Arguments& arguments);
int run_policy_learn(const Arguments& arguments);
int run_policy_prove(const Arguments& arguments);
int run_policy_show(const Arguments& arguments);
int run_policy_trust(const Arguments& arguments);
int run_provider_list(const Arguments& arguments);
int run_provider_show(const Arguments& arguments);
int run_provider_update(const Arguments& arguments);
int run_recovery_set(const Arguments& arguments);
int run_remove(const Arguments& arguments);
int run_restore(const Arguments& arguments);
int run_revoke(const Arguments& arguments);
int run_rotate(const Arguments& arguments);
int run_sessions(const Arguments& arguments);
int run_destroy(const Arguments& arguments);
int run_budget_show(const Arguments& arguments);
int run_budget_reset(const Arguments& arguments);
int run_show(const Arguments& arguments);
int run_status(const Arguments& arguments);
int run_token_attenuate(const Arguments& arguments);
int run_token_inspect(const Arguments& arguments);

}  // namespace agentvault::cli
