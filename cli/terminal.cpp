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

namespace agentvault::cli {
namespace {

constexpr std::size_t kMaxSecret = 64 * 1024;
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
  if (size > most) throw Error(ErrorKind::usage, what + " is larger than " + std::to_string(most) + " bytes");
  all.shrink(size);
  drop_line_end(all);
  return all;
}

SecretBytes read_pin_file(const std::string& path, bool must_be_private) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw Error(ErrorKind::pin, "cannot read the PIN file " + path, "is the path right?");
  struct stat info {};
  if (must_be_private && (::fstat(fd.get(), &info) != 0 || (info.st_mode & 077) != 0)) {
    throw Error(ErrorKind::pin, "others can read the PIN file " + path, "run \"chmod 600 " + path + "\"");
  }
  SecretBytes pin = read_all(fd.get(), kMaxPin, "the PIN file");
  if (pin.empty()) throw Error(ErrorKind::pin, "the PIN file " + path + " is empty");
  return pin;
}

/// A PIN that nobody has to type.
std::optional<SecretBytes> pin_without_terminal(const std::string& pin_file) {
  if (!pin_file.empty()) return read_pin_file(pin_file, true);
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr) return std::nullopt;
  const std::string path = std::string(directory) + "/agentvault-pin";
  if (::access(path.c_str(), R_OK) != 0) return std::nullopt;
  return read_pin_file(path, false);  // systemd guards that folder
}

SecretBytes ask_pin(const std::string& question) {
  return ask_hidden(question, ErrorKind::pin, "without a terminal give --pin-file FILE (mode 0600)");
}

}  // namespace

int report(const Error& error) {
  std::fprintf(stderr, "agentvault: error: %s\n", printable(error.what(), kMaxMessage).c_str());
  if (!error.hint().empty()) std::fprintf(stderr, "hint: %s\n", printable(error.hint(), kMaxMessage).c_str());
  return error.exit_code();
}

void note(const std::string& text) {
  std::fprintf(stderr, "agentvault: %s\n", printable(text, kMaxMessage).c_str());
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

SecretBytes obtain_pin(const std::string& pin_file) {
  if (auto pin = pin_without_terminal(pin_file)) return std::move(*pin);
  return ask_pin("PIN: ");
}

SecretBytes obtain_new_pin(const std::string& pin_file) {
  if (auto pin = pin_without_terminal(pin_file)) return std::move(*pin);
  SecretBytes pin = ask_pin("New PIN: ");
  if (pin.empty())
    throw Error(ErrorKind::pin, "an empty PIN protects nothing", "leave --pin out for a vault without one");
  const SecretBytes again = ask_pin("The same again: ");
  if (!constant_time_equal(pin.reveal(), again.reveal()))
    throw Error(ErrorKind::pin, "the two PINs differ", "try again");
  return pin;
}

}  // namespace agentvault::cli
