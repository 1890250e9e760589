#include "base/error.hpp"

#include <cerrno>
#include <system_error>

namespace agentvault {
namespace {

/// The next step, for whoever had no better one to name.
const char* usual_hint(int code) {
  switch (code) {
    case ENOSPC:
    case EDQUOT:
      return "free some space, then try again";
    case EROFS:
      return "the file system is read-only: remount it, or name another place";
    case EACCES:
    case EPERM:
      return "does it belong to another user?";
    case ENOENT:
    case ENOTDIR:
      return "is the path right?";
    case EIO:
      return "is the disk healthy?";
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return "the machine is out of memory, processes or descriptors: try again later";
    default:
      return "run again with --log-level debug";
  }
}

}  // namespace

void throw_errno(const std::string& what, const std::string& hint) {
  const int code = errno;
  throw Error(ErrorKind::failed, "cannot " + what + ": " + std::generic_category().message(code),
              hint.empty() ? usual_hint(code) : hint);
}

}  // namespace agentvault
