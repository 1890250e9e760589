#include "tpm/transport.hpp"

#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "tpm/embedded.hpp"
#include "tpm/tcti_transport.hpp"

namespace agentvault::tpm {
namespace {

constexpr const char* kDefaultDevice = "/dev/tpmrm0";
constexpr const char* kForms = "use auto, device:PATH, swtpm:path=SOCKET, tabrmd or embedded";

bool take_prefix(std::string& text, const std::string& prefix) {
  if (text.rfind(prefix, 0) != 0) return false;
  text.erase(0, prefix.size());
  return true;
}

/// Stored, it must mean the same from every working directory.
std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

TransportName automatic() {
  if (::access(kDefaultDevice, F_OK) == 0) return {TransportKind::device, kDefaultDevice};
  throw Error(ErrorKind::tpm, std::string("this machine has no TPM at ") + kDefaultDevice,
              "without hardware add \"--tpm embedded\" (a software TPM: no hardware protection)");
}

}  // namespace

TransportName TransportName::parse(const std::string& text) {
  std::string rest = text;
  if (text == "auto") return automatic();
  if (text == "tabrmd") return {TransportKind::tabrmd, ""};
  if (text == "embedded") return {TransportKind::embedded, ""};
  // A comma would begin another option of the transport's: a host, a port.
  if (text.find(',') != std::string::npos && text.rfind("cmd:", 0) != 0) {
    throw Error(ErrorKind::usage, "unknown TPM \"" + text + "\"", kForms);
  }
  if (take_prefix(rest, "device:") && !rest.empty()) return {TransportKind::device, absolute(rest)};
  if (take_prefix(rest, "cmd:") && !rest.empty()) return {TransportKind::command, rest};
  if (take_prefix(rest, "swtpm:path=") && !rest.empty()) return {TransportKind::swtpm, absolute(rest)};
  throw Error(ErrorKind::usage, "unknown TPM \"" + text + "\"", kForms);
}

TransportName TransportName::parse_stored(const std::string& text) {
  if (text == "auto" || text.rfind("cmd:", 0) == 0) {
    throw Error(ErrorKind::integrity, "the vault names a TPM that is never stored: \"" + text + "\"",
                "somebody changed the vault's database: restore it from a copy you trust");
  }
  try {
    auto name = parse(text);
    if (name.text() != text) throw Error(ErrorKind::usage, "not as it was stored");
    return name;
  } catch (const Error&) {
    throw Error(ErrorKind::integrity, "the vault names an unknown TPM", "restore the vault from a copy you trust");
  }
}

std::string TransportName::text() const {
  switch (kind) {
    case TransportKind::device:
      return "device:" + argument;
    case TransportKind::swtpm:
      return "swtpm:path=" + argument;
    case TransportKind::tabrmd:
      return "tabrmd";
    case TransportKind::embedded:
      return "embedded";
    case TransportKind::command:
      return "cmd:" + argument;
  }
  return {};
}

std::string TransportName::description() const {
  switch (kind) {
    case TransportKind::device:
      return "TPM " + argument;
    case TransportKind::tabrmd:
      return "TPM through tabrmd";
    case TransportKind::swtpm:
      return "swtpm emulator: no hardware protection";
    case TransportKind::embedded:
      return "software TPM: no hardware protection";
    case TransportKind::command:
      return "TPM through a command";
  }
  return {};
}

std::unique_ptr<Transport> open_transport(const TransportName& name, const std::filesystem::path& state_directory,
                                          const PinSource& pin) {
  // tpm2-tss prints its own lines on stderr; ours say what to do. Whoever sets TSS2_LOG gets both.
  ::setenv("TSS2_LOG", "all+NONE", 0);
  if (name.kind == TransportKind::embedded) return open_embedded(state_directory, pin);
  return open_tcti(name);
}

}  // namespace agentvault::tpm
