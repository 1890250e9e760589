#include "session/throw_away_folder.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace agentvault::session {

ThrowAwayFolder::ThrowAwayFolder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const char* temporary = std::getenv("TMPDIR");
  const std::filesystem::path base = runtime != nullptr && *runtime == '/'       ? runtime
                                     : temporary != nullptr && *temporary == '/' ? temporary
                                                                                 : "/tmp";
  std::string pattern = (base / "agentvault-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno("make a folder in " + base.string());
  folder_ = pattern;
}

ThrowAwayFolder::~ThrowAwayFolder() {
  std::error_code left_behind;
  std::filesystem::remove_all(folder_, left_behind);
  ::rmdir(folder_.c_str());  // which tries unlink() first, and a confined broker must not
}

}  // namespace agentvault::session
