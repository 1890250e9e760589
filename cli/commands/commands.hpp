// One function a command, one file a function. Each returns the exit code and throws Error.
#pragma once

#include "arguments.hpp"

namespace agentvault::cli {

int run_add(const Arguments& arguments);
int run_completion(const Arguments& arguments);
int run_exec(const Arguments& arguments);
int run_init(const Arguments& arguments);
int run_list(const Arguments& arguments);
int run_remove(const Arguments& arguments);
int run_sessions(const Arguments& arguments);
int run_show(const Arguments& arguments);
int run_status(const Arguments& arguments);
int run_token_attenuate(const Arguments& arguments);
int run_token_inspect(const Arguments& arguments);

}  // namespace agentvault::cli
