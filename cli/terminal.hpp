// The whole contract with the person: results on stdout, all else on stderr, questions on the terminal itself.
#pragma once

#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault::cli {

/// A descriptor of ours must never become somebody's standard stream: opens those that are missing.
void open_missing_streams();

/// "agentvault: error: MESSAGE" and "hint: HINT". Returns the exit code.
int report(const Error& error);
void note(const std::string& text);

/// Asks on /dev/tty without echo. Throws Error with `kind` and `hint` where there is no terminal.
SecretBytes ask_hidden(const std::string& question, ErrorKind kind, const std::string& hint);

/// At most 64 KiB from standard input, without one line end at the end.
SecretBytes read_secret_from_stdin();

/// From `pin_file`, from $CREDENTIALS_DIRECTORY/agentvault-pin (systemd), or from the terminal. Throws Error(pin).
SecretBytes obtain_pin(const std::string& pin_file);
/// The same for a new vault: on the terminal it is asked twice.
SecretBytes obtain_first_pin(const std::string& pin_file);
/// For a vault that has one: from the file, or from the terminal.
SecretBytes obtain_new_pin(const std::string& file);

/// The recovery passphrase, from the file (mode 0600) or from the terminal.
SecretBytes obtain_passphrase(const std::string& file);
/// A new one: on the terminal it is asked twice.
SecretBytes obtain_new_passphrase(const std::string& file);
/// For a new vault: from the file; else offered on the terminal, where there is one, and nothing when it is declined.
std::optional<SecretBytes> offer_passphrase(const std::string& file);
/// The password of the TPM's owner.
SecretBytes obtain_owner_password(const std::string& file);

}  // namespace agentvault::cli
