#include "base/error.hpp"

#include <cerrno>
#include <system_error>

namespace agentvault {

void throw_errno(const std::string& what, const std::string& hint) {
  const int code = errno;
  throw Error(ErrorKind::failed, "cannot " + what + ": " + std::generic_category().message(code), hint);
}

}  // namespace agentvault
