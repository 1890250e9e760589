#include "credential_check.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"
#include "scrub/scrubber.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

/// Variables that decide what a program does before it reads any key.
bool is_for_a_token(const std::string& name) {
  return valid_variable(name) && !name.starts_with("AGENTVAULT_") && !name.starts_with("LD_") && name != "PATH";
}

}  // namespace

void check_variables(const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (is_for_a_token(name)) continue;
    throw Error(ErrorKind::usage, "not a variable for a token: \"" + printable(name) + "\"",
                "letters, digits and _, not starting with a digit, AGENTVAULT_ or LD_, and not PATH");
  }
}

void check_secret(const SecretBytes& secret, const provider::Binding& binding, const std::string& name) {
  if (secret.empty()) throw Error(ErrorKind::usage, "the secret is empty: nothing was stored", "give the key itself");
  const auto text = as_text(secret.reveal());
  if (binding.inject.needs_single_line() && !http::is_field_value(text)) {
    throw Error(ErrorKind::usage,
                "the secret holds a line end or another control character, which a header cannot carry",
                "check what was pasted, or choose another --inject");
  }
  if (text.front() == ' ' || text.back() == ' ') note("warning: the secret begins or ends with a blank");
  if (scrub::Needles needles; !needles.add(0, secret)) {
    note("warning: the secret of " + name + " has a line shorter than 16 bytes: it cannot be recognised in responses");
  }
}

}  // namespace agentvault::cli
