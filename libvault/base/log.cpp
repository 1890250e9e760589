#include "base/log.hpp"

// The one source that pays for spdlog's headers.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/error.hpp"

namespace agentvault::log {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("agentvault", std::make_shared<spdlog::sinks::stderr_sink_st>());
    made->set_pattern("agentvault: %l: %v");
    made->set_level(spdlog::level::warn);
    return made;
  }();
  return *instance;
}

}  // namespace

void set_level(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    throw Error(ErrorKind::usage, "unknown log level \"" + level + "\"", "use error, warning, info or debug");
  }
  logger().set_level(parsed);
}

void warning(const std::string& message) {
  logger().warn("{}", message);
}
void debug(const std::string& message) {
  logger().debug("{}", message);
}

}  // namespace agentvault::log
