#include "tpm/tcti_transport.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tcti_cmd.h>
#include <tss2/tss2_tcti_device.h>
#include <tss2/tss2_tcti_swtpm.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/installed_group.hpp"

namespace agentvault::tpm {
namespace {

constexpr std::chrono::seconds kLockPatience{10};

class TctiTransport final : public Transport {
 public:
  TctiTransport(TSS2_TCTI_INIT_FUNC init, const std::string& configuration, const std::string& what) : what_(what) {
    std::size_t size = 0;
    TSS2_RC rc = init(nullptr, &size, configuration.c_str());
    if (rc == TSS2_RC_SUCCESS) {
      memory_.resize(size);
      rc = init(context(), &size, configuration.c_str());
    }
    if (rc != TSS2_RC_SUCCESS) {
      memory_.clear();
      throw Error(ErrorKind::tpm, "cannot reach the " + what_, "is it running, and is the path right?");
    }
  }
  ~TctiTransport() override {
    if (!memory_.empty()) Tss2_Tcti_Finalize(context());
  }
  TctiTransport(const TctiTransport&) = delete;
  TctiTransport& operator=(const TctiTransport&) = delete;

  Bytes exchange(ByteView command) override {
    if (Tss2_Tcti_Transmit(context(), command.size(), command.data()) != TSS2_RC_SUCCESS) fail("sending to");
    Bytes response(kMaxMessage);
    std::size_t size = response.size();
    if (Tss2_Tcti_Receive(context(), &size, response.data(), TSS2_TCTI_TIMEOUT_BLOCK) != TSS2_RC_SUCCESS) {
      fail("receiving from");
    }
    // What the transport claims to have written is as untrusted as the bytes.
    if (size > response.size()) fail("receiving from");
    response.resize(size);
    return response;
  }

 private:
  TSS2_TCTI_CONTEXT* context() { return reinterpret_cast<TSS2_TCTI_CONTEXT*>(memory_.data()); }
  [[noreturn]] void fail(const std::string& doing) const {
    throw Error(ErrorKind::tpm, doing + " the " + what_ + " failed", "is it still running?");
  }

  std::string what_;
  std::vector<std::uint8_t> memory_;
};

/// tcti-device reports every failure alike: open it once ourselves to tell which it is.
void check_device(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd || errno == EBUSY) return;
  if (errno == ENOENT) {
    throw Error(ErrorKind::tpm, "there is no TPM at " + path,
                "without hardware use \"agentvault init --tpm embedded\" (a software TPM: no hardware protection)");
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
