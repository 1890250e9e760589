#include "terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/file.hpp"
#include "base/text.hpp"
#include "credential_check.hpp"

namespace agentvault::cli {
namespace {

constexpr std::size_t kMaxPin = 256;
constexpr std::size_t kMaxMessage = 2000;  // may hold what somebody else chose

volatile std::sig_atomic_t interrupted = 0;

/// Echo and line editing off for as long as it lives: the kernel's own editing cuts a line at 4095 bytes. A signal that
/// ends or stops the process is held until the terminal is as it was.
class HiddenInput {
 public:
  explicit HiddenInput(int tty) : tty_(tty) {
    if (::tcgetattr(tty_, &before_) != 0) throw_errno("read the terminal's settings");
    interrupted = 0;
    struct sigaction note {};
    note.sa_handler = [](int number) { interrupted = number; };
    sigset_t held;
    sigemptyset(&held);
    for (int number : kSignals) sigaddset(&held, number);
    // Delivered only while ppoll waits: between a look at the flag and a read none can slip through.
    ::sigprocmask(SIG_BLOCK, &held, &mask_);
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &note, &handlers_[i]);
    termios hidden = before_;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    hidden.c_cc[VMIN] = 1;
    hidden.c_cc[VTIME] = 0;
    ::tcsetattr(tty_, TCSAFLUSH, &hidden);
  }
  ~HiddenInput() {
    ::tcsetattr(tty_, TCSAFLUSH, &before_);
    [[maybe_unused]] const auto written = ::write(tty_, "\n", 1);
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &handlers_[i], nullptr);
    ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
    if (interrupted != 0) ::raise(interrupted);
  }
  HiddenInput(const HiddenInput&) = delete;
  HiddenInput& operator=(const HiddenInput&) = delete;

  /// One line, without its end, straight into locked memory.
  SecretBytes read_line(std::size_t most) {
    SecretBytes line(most);
    std::size_t used = 0;
    for (;;) {
      pollfd typed{tty_, POLLIN, 0};
      const int ready = ::ppoll(&typed, 1, nullptr, &mask_);
      if (interrupted != 0) throw Error(ErrorKind::failed, "interrupted");
      if (ready < 0 && errno == EINTR) continue;
      std::uint8_t byte = 0;
      const ssize_t got = ::read(tty_, &byte, 1);
      if (got <= 0 || byte == '\n' || byte == '\r' || byte == before_.c_cc[VEOF]) break;
      if (byte == before_.c_cc[VERASE] || byte == '\b') {
        used -= used > 0 ? 1 : 0;
      } else if (byte == before_.c_cc[VKILL]) {
        used = 0;
      } else if (used == most) {
        throw Error(ErrorKind::usage, "more than " + std::to_string(most) + " bytes were typed", "nothing was stored");
      } else {
        line.writable()[used++] = byte;
      }
    }
    line.shrink(used);
    return line;
  }

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
  int tty_;
  termios before_{};
  sigset_t mask_{};
  std::array<struct sigaction, kSignals.size()> handlers_{};
};

void drop_line_end(SecretBytes& secret) {
  const auto bytes = secret.reveal();
  std::size_t size = bytes.size();
  if (size > 0 && bytes[size - 1] == '\n') --size;
  if (size > 0 && size < bytes.size() && bytes[size - 1] == '\r') --size;
  secret.shrink(size);
}

SecretBytes read_all(int fd, std::size_t most, const std::string& what) {
  SecretBytes all(most + 1);
  const std::size_t size = read_up_to(fd, all.writable(), what);
  if (size > most)
    throw Error(ErrorKind::usage, what + " is larger than " + std::to_string(most) + " bytes", "is it the right one?");
  all.shrink(size);
  drop_line_end(all);
  return all;
}

/// One secret of the vault's own that a person knows.
struct Question {
  const char* what;
  const char* option;  // where it can come from without a terminal
};
constexpr Question kPin{"PIN", "--pin-file"};
constexpr Question kNewPin{"new PIN", "--new-pin-file"};
constexpr Question kPassphrase{"recovery passphrase", "--passphrase-file"};
constexpr Question kNewPassphrase{"new recovery passphrase", "--new-passphrase-file"};
constexpr Question kOwnerPassword{"password of the TPM's owner", "--owner-password-file"};
constexpr std::size_t kShortPassphrase = 12;
constexpr std::size_t kShortestPassphrase = 8;
constexpr std::size_t kShortPin = 6;

SecretBytes read_secret_file(const Question& question, const std::string& path, bool must_be_private) {
  const std::string what = std::string("the file with the ") + question.what;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw Error(ErrorKind::pin, "cannot read " + what + ": " + path, "is the path right?");
  struct stat info {};
  if (must_be_private && (::fstat(fd.get(), &info) != 0 || (info.st_mode & 077) != 0)) {
    throw Error(ErrorKind::pin, "others can read " + what + ": " + path, "run \"chmod 600 " + path + "\"");
  }
  SecretBytes secret = read_all(fd.get(), kMaxPin, what);
  if (secret.empty())
    throw Error(ErrorKind::pin, what + " is empty: " + path, "write the " + std::string(question.what) + " into it");
  return secret;
}

SecretBytes ask(const Question& question, const std::string& text) {
  return ask_hidden(text, ErrorKind::pin,
                    std::string("without a terminal give ") + question.option + " FILE (mode 0600)");
}

SecretBytes obtain(const Question& question, const std::string& file) {
  if (!file.empty()) return read_secret_file(question, file, true);
  return ask(question, std::string(question.what) + ": ");
}

SecretBytes ask_twice(const Question& question, const std::string& text) {
  SecretBytes secret = ask(question, text);
  if (secret.empty()) return secret;
  const SecretBytes again = ask(question, "the same again: ");
  if (!constant_time_equal(secret.reveal(), again.reveal())) {
    throw Error(ErrorKind::pin, "the two differ", "try again; nothing was changed");
  }
  return secret;
}

SecretBytes obtain_new(const Question& question, const std::string& file) {
  if (!file.empty()) return read_secret_file(question, file, true);
  SecretBytes secret = ask_twice(question, std::string(question.what) + ": ");
  if (secret.empty()) throw Error(ErrorKind::pin, "an empty one protects nothing", "nothing was changed");
  return secret;
}

/// systemd's LoadCredential=: a PIN that nobody has to type.
std::optional<SecretBytes> pin_from_systemd() {
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr) return std::nullopt;
  const std::string path = std::string(directory) + "/agentvault-pin";
  if (::access(path.c_str(), R_OK) != 0) return std::nullopt;
  return read_secret_file(kPin, path, false);  // systemd guards that folder
}

/// A TPM of hardware counts wrong PINs; what lies in a file can be tried as often as somebody likes.
SecretBytes checked_pin(SecretBytes pin) {
  if (pin.size() < kShortPin) {
    note("warning: a short PIN can be guessed by whoever gets hold of a software TPM's state");
  }
  return pin;
}

SecretBytes checked_passphrase(SecretBytes passphrase) {
  if (passphrase.size() < kShortestPassphrase) {
    throw Error(ErrorKind::pin,
                "a recovery passphrase has at least " + std::to_string(kShortestPassphrase) + " characters",
                "whoever gets hold of a backup can try as many as they like: take several words");
  }
  if (passphrase.size() < kShortPassphrase) {
    note("warning: a short recovery passphrase can be guessed by whoever gets hold of a backup");
  }
  return passphrase;
}

}  // namespace

void open_missing_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) std::_Exit(1);
  }
}

int report(const Error& error) {
  std::fprintf(stderr, "agentvault: error: %s\n", printable_message(error.what(), kMaxMessage).c_str());
  std::string hint = error.hint();
  if (error.kind() == ErrorKind::not_found && std::string_view(error.what()).starts_with("there is no vault") &&
      std::getenv("AGENTVAULT_SESSION") != nullptr) {
    hint = "inside a session the vault is out of reach: ask whoever started it";
  }
  if (!hint.empty()) std::fprintf(stderr, "hint: %s\n", printable_message(hint, kMaxMessage).c_str());
  return error.exit_code();
}

void note(const std::string& text) {
  std::fprintf(stderr, "agentvault: %s\n", printable_message(text, kMaxMessage).c_str());
}

SecretBytes ask_hidden(const std::string& question, ErrorKind kind, const std::string& hint) {
  const UniqueFd tty(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!tty) throw Error(kind, "there is no terminal to ask on", hint);
  HiddenInput input(tty.get());  // first: what is typed in answer must not be seen, nor thrown away
  write_all(tty.get(), as_bytes(question), "the terminal");
  return input.read_line(kMaxSecret);
}

SecretBytes read_secret_from_stdin() {
  return read_all(STDIN_FILENO, kMaxSecret, "the secret on standard input");
}

SecretBytes obtain_pin(const std::string& file) {
  if (file.empty()) {
    if (auto pin = pin_from_systemd()) return std::move(*pin);
  }
  return obtain(kPin, file);
}

SecretBytes obtain_first_pin(const std::string& file) {
  if (file.empty()) {
    if (auto pin = pin_from_systemd()) return std::move(*pin);
  }
  return checked_pin(obtain_new({kNewPin.what, kPin.option}, file));
}

SecretBytes obtain_new_pin(const std::string& file) {
  return checked_pin(obtain_new(kNewPin, file));
}

SecretBytes obtain_passphrase(const std::string& file) {
  return obtain(kPassphrase, file);
}

SecretBytes obtain_new_passphrase(const std::string& file) {
  return checked_passphrase(obtain_new(kNewPassphrase, file));
}

std::optional<SecretBytes> offer_passphrase(const std::string& file) {
  if (!file.empty()) return obtain_new_passphrase(file);
  if (::isatty(STDIN_FILENO) == 0) return std::nullopt;
  auto passphrase = ask_twice(
      kNewPassphrase, "recovery passphrase: opens backups of this vault on any machine (empty: set one later): ");
  if (passphrase.empty()) return std::nullopt;
  return checked_passphrase(std::move(passphrase));
}

SecretBytes obtain_owner_password(const std::string& file) {
  return obtain(kOwnerPassword, file);
}

}  // namespace agentvault::cli
