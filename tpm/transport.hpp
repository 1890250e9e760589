// How bytes reach a TPM 2.0. One Transport is one connection to one TPM, used by one thread.
//
// A transport name is what the user writes after --tpm and what the vault stores:
//   device:PATH        a character device with the kernel's resource manager, normally /dev/tpmrm0
//   swtpm:path=SOCKET  a swtpm server on a UNIX socket (its control socket is SOCKET.ctrl)
//   tabrmd             the tpm2-abrmd resource manager on the system bus
//   embedded           libtpms in this process, its state in the vault directory: no hardware protection
//   cmd:COMMAND        a program that speaks TPM commands on its standard streams: command line only, never stored
//   auto               device:/dev/tpmrm0, or an error that names the next step
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault::tpm {

enum class TransportKind { device, swtpm, tabrmd, embedded, command };

struct TransportName {
  TransportKind kind;
  std::string argument;  // device path, swtpm configuration or command; empty otherwise

  /// From the command line. Throws Error(usage) for an unknown form.
  static TransportName parse(const std::string& text);
  /// From the vault, which is read before anything is authenticated: no cmd:, else Error(integrity).
  static TransportName parse_stored(const std::string& text);
  std::string text() const;

  /// Without a resource manager every process must clean up after itself and after the dead.
  bool shared_without_manager() const {
    return kind == TransportKind::swtpm || kind == TransportKind::embedded || kind == TransportKind::command;
  }
  /// What a session line says about the protection: "TPM /dev/tpmrm0", "software TPM: no hardware protection".
  std::string description() const;
};

/// A TPM's state that is encrypted under PINs, beside the vault.
class StatePins {
 public:
  virtual ~StatePins() = default;
  /// The PIN that opened the state, and this one.
  virtual void accept_also(const SecretBytes& pin) = 0;
  /// This one alone, under a fresh key; also for a state that was not encrypted before.
  virtual void accept_only(const SecretBytes& pin) = 0;
  /// How many PINs open the state.
  virtual std::size_t count() const = 0;
  /// The PIN that opened the state alone, under a fresh key.
  virtual void keep_the_one_given() = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  /// One command, one response, as they came: not yet validated. Throws Error(tpm).
  virtual Bytes exchange(ByteView command) = 0;
  /// Null: no state of its own.
  virtual StatePins* state_pins() { return nullptr; }
};

/// Asked only when the transport cannot be opened without it (embedded state that is encrypted under a PIN).
using PinSource = std::function<SecretBytes()>;

/// `state_directory` holds the embedded TPM's state and is unused otherwise.
std::unique_ptr<Transport> open_transport(const TransportName& name, const std::filesystem::path& state_directory,
                                          const PinSource& pin);

/// Largest command or response of any TPM we talk to (libtpms and hardware say 4096).
inline constexpr std::size_t kMaxMessage = 4096;

}  // namespace agentvault::tpm
