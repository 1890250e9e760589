#include <cstdio>

#include "commands/commands.hpp"
#include "completion_script.hpp"

namespace agentvault::cli {

int run_completion(const Arguments& arguments) {
  std::fputs(completion_script(arguments.shell, command_shape()).c_str(), stdout);
  return 0;
}

}  // namespace agentvault::cli
