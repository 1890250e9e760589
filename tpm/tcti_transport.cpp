#include "tpm/tcti_transport.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tcti_cmd.h>
#include <tss2/tss2_tcti_device.h>
#include <tss2/tss2_tcti_swtpm.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/installed_group.hpp"

namespace agentvault::tpm {
namespace {

constexpr std::chrono::seconds kLockPatience{10};
constexpr std::chrono::seconds kPatience{30};  // for one command; the slowest that we send take a few

/// One TCTI of tpm2-tss, with what it works on.
struct Tcti {
  std::vector<std::uint8_t> memory;
  Bytes command;
  Bytes response;
  std::size_t size = 0;  // of the response

  Tcti() = default;
  ~Tcti() {
    if (!memory.empty()) Tss2_Tcti_Finalize(context());
  }
  Tcti(const Tcti&) = delete;
  Tcti& operator=(const Tcti&) = delete;
  TSS2_TCTI_CONTEXT* context() { return reinterpret_cast<TSS2_TCTI_CONTEXT*>(memory.data()); }
};

/// No TCTI can be told how long all of a response may take: it works on a thread of its own, which is given up on when
/// it takes too long. What the thread works on lives as long as it does.
class TctiTransport final : public Transport {
 public:
  TctiTransport(TSS2_TCTI_INIT_FUNC init, const std::string& configuration, const std::string& what)
      : what_(what), tcti_(std::make_shared<Tcti>()) {
    const auto rc = within_patience([tcti = tcti_, init, configuration] {
      std::size_t size = 0;
      TSS2_RC result = init(nullptr, &size, configuration.c_str());
      if (result != TSS2_RC_SUCCESS) return result;
      tcti->memory.resize(size);
      result = init(tcti->context(), &size, configuration.c_str());
      if (result != TSS2_RC_SUCCESS) tcti->memory.clear();
      return result;
    });
    if (rc == TSS2_RC_SUCCESS) return;
    throw Error(ErrorKind::tpm, "cannot reach the " + what_, "is it running, and is the path right?");
  }

  Bytes exchange(ByteView command) override {
    tcti_->command.assign(command.begin(), command.end());
    tcti_->response.resize(kMaxMessage);
    const auto rc = within_patience([tcti = tcti_] {
      const auto& sent = tcti->command;
      const TSS2_RC result = Tss2_Tcti_Transmit(tcti->context(), sent.size(), sent.data());
      if (result != TSS2_RC_SUCCESS) return result;
      tcti->size = tcti->response.size();
      return Tss2_Tcti_Receive(tcti->context(), &tcti->size, tcti->response.data(), TSS2_TCTI_TIMEOUT_BLOCK);
    });
    // What the transport claims to have written is as untrusted as the bytes.
    if (rc != TSS2_RC_SUCCESS || tcti_->size > tcti_->response.size()) {
      throw Error(ErrorKind::tpm, "talking to the " + what_ + " failed", "is it still running?");
    }
    tcti_->response.resize(tcti_->size);
    return std::move(tcti_->response);
  }

 private:
  TSS2_RC within_patience(std::function<TSS2_RC()> work) {
    if (silent_) give_up();
    std::packaged_task<TSS2_RC()> task([work = std::move(work)] {
      sigset_t all;  // whoever is gone on the other side is an error, no signal
      ::sigfillset(&all);
      ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
      return work();
    });
    auto result = task.get_future();
    std::thread worker(std::move(task));
    if (result.wait_for(kPatience) != std::future_status::ready) {
      worker.detach();
      silent_ = true;
      give_up();
    }
    worker.join();
    return result.get();
  }
  [[noreturn]] void give_up() const {
    throw Error(ErrorKind::tpm,
                "the " + what_ + " has not answered for " + std::to_string(kPatience.count()) + " seconds",
                "does another program hold it up? After a restart of the machine it should answer");
  }

  std::string what_;
  std::shared_ptr<Tcti> tcti_;
  bool silent_ = false;  // it was given up on
};

/// tcti-device reports every failure alike: open it once ourselves to tell which it is.
void check_device(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd || errno == EBUSY) return;
  if (errno == ENOENT) {
    throw Error(ErrorKind::tpm, "there is no TPM at " + path,
                "without hardware add \"--tpm embedded\" (a software TPM: no hardware protection)");
  }
  if (errno == EACCES || errno == EPERM) {
    struct stat info {};
    const group* owner = ::stat(path.c_str(), &info) == 0 ? ::getgrgid(info.st_gid) : nullptr;
    const std::string name = owner != nullptr && info.st_gid != 0 ? owner->gr_name : "tss";
    throw Error(ErrorKind::tpm, "no permission to use " + path,
                "run \"sudo usermod -aG " + name + " $USER\", then log out and in again");
  }
  throw_errno("open " + path);
}

/// swtpm has no resource manager: two at once would fill it, and clean up each other's sessions.
class LockedTransport final : public Transport {
 public:
  LockedTransport(FileLock lock, std::unique_ptr<Transport> below) : lock_(std::move(lock)), below_(std::move(below)) {}
  Bytes exchange(ByteView command) override { return below_->exchange(command); }

 private:
  FileLock lock_;
  std::unique_ptr<Transport> below_;
};

std::unique_ptr<Transport> open_swtpm(const std::string& socket) {
  if (::access(socket.c_str(), F_OK) != 0) {
    throw Error(ErrorKind::tpm, "cannot reach the swtpm server at " + socket, "is it running, and is the path right?");
  }
  auto lock = FileLock::acquire(socket + ".lock", kLockPatience);
  if (!lock)
    throw Error(ErrorKind::tpm, "another process is using the swtpm server at " + socket,
                "wait for it, then try again");
  return std::make_unique<LockedTransport>(
      std::move(*lock),
      std::make_unique<TctiTransport>(Tss2_Tcti_Swtpm_Init, "path=" + socket, "swtpm server at " + socket));
}

std::unique_ptr<Transport> open_tabrmd() {
  // The only library opened late, by a fixed soname: most machines do not have it.
  void* library = ::dlopen("libtss2-tcti-tabrmd.so.0", RTLD_NOW | RTLD_LOCAL);
  void* symbol = library != nullptr ? ::dlsym(library, "Tss2_Tcti_Tabrmd_Init") : nullptr;
  if (symbol == nullptr) {
    throw Error(ErrorKind::tpm, "the library for tabrmd is not installed",
                "install libtss2-tcti-tabrmd0, or use --tpm device:/dev/tpmrm0");
  }
  return std::make_unique<TctiTransport>(reinterpret_cast<TSS2_TCTI_INIT_FUNC>(symbol), "", "tabrmd resource manager");
}

}  // namespace

std::unique_ptr<Transport> open_tcti(const TransportName& name) {
  switch (name.kind) {
    case TransportKind::device: {
      const WithInstalledGroup raised;
      check_device(name.argument);
      return std::make_unique<TctiTransport>(Tss2_Tcti_Device_Init, name.argument, "TPM " + name.argument);
    }
    case TransportKind::swtpm:
      return open_swtpm(name.argument);
    case TransportKind::command:
      return std::make_unique<TctiTransport>(Tss2_Tcti_Cmd_Init, name.argument, "TPM command");
    case TransportKind::tabrmd:
      return open_tabrmd();
    case TransportKind::embedded:
      break;
  }
  throw Error(ErrorKind::tpm, "not a TPM that tpm2-tss reaches");
}

}  // namespace agentvault::tpm
