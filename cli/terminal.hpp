// The whole contract with the person: results on stdout, all else on stderr, questions on the terminal itself.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault::cli {

/// "agentvault: error: MESSAGE" and "hint: HINT". Returns the exit code.
int report(const Error& error);
void note(const std::string& text);

/// Asks on /dev/tty without echo. Throws Error with `kind` and `hint` where there is no terminal.
SecretBytes ask_hidden(const std::string& question, ErrorKind kind, const std::string& hint);

/// At most 64 KiB from standard input, without one line end at the end.
SecretBytes read_secret_from_stdin();

/// From `pin_file`, from $CREDENTIALS_DIRECTORY/agentvault-pin (systemd), or from the terminal. Throws Error(pin).
SecretBytes obtain_pin(const std::string& pin_file);
/// The same for a new PIN: on the terminal it is asked twice.
SecretBytes obtain_new_pin(const std::string& pin_file);

}  // namespace agentvault::cli
