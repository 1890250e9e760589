// The one exception type. What a person sees is one line (message) and the next step (hint); the kind decides the exit
// code. Neither may ever hold a secret. A negative decision (denied, expired) is a value, not an Error.
#pragma once

#include <stdexcept>
#include <string>

namespace agentvault {

/// Values are the exit codes of the program.
enum class ErrorKind : int {
  failed = 1,
  usage = 2,
  not_found = 3,
  denied = 4,
  pin = 5,
  integrity = 6,
  tpm = 7,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message, std::string hint = {})
      : std::runtime_error(message), kind_(kind), hint_(std::move(hint)) {}

  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }
  const std::string& hint() const { return hint_; }

 private:
  ErrorKind kind_;
  std::string hint_;
};

/// Throws ErrorKind::failed with the text of errno: "cannot WHAT: No such file or directory". Without a hint, the usual
/// one for that errno.
[[noreturn]] void throw_errno(const std::string& what, const std::string& hint = {});

}  // namespace agentvault
