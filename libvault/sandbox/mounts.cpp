#include "sandbox/mounts.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "sandbox/known_paths.hpp"
#include "sandbox/place.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kCopy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH;

int attach(int tree, const fs::path& path) {
  const UniqueFd place = place_at(path);
  return place ? ::move_mount(tree, "", place.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) : -1;
}
/// A copy of what is mounted at a path and under it.
UniqueFd copy_of(const fs::path& path) {
  const UniqueFd place = place_at(path);
  return UniqueFd(place ? ::open_tree(place.get(), "", kCopy) : -1);
}
int set_attributes(int folder, const char* path, unsigned flags, std::uint64_t set, std::uint64_t propagation = 0) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.propagation = propagation;
  return ::mount_setattr(folder, path, flags, &attributes, sizeof attributes);
}

constexpr const char* kDevices[]{"null", "zero", "full", "random", "urandom", "tty"};
constexpr const char* kEmptyFile = "/run/agentvault/.none/file";
constexpr const char* kEmptyFolder = "/run/agentvault/.none/folder";

void make_folders(const fs::path& path, mode_t mode = 0755) {
  if (path.empty() || ::access(path.c_str(), F_OK) == 0) return;
  make_folders(path.parent_path(), 0755);
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) throw_errno("make " + path.string() + " inside");
}

void write_file(const fs::path& path, ByteView contents, mode_t mode) {
  make_folders(path.parent_path());
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file) throw_errno("write " + path.string() + " inside");
  write_all(file.get(), contents, path.string());
}

void mount_private(const fs::path& path, const char* options, unsigned long flags) {
  if (::mount("tmpfs", path.c_str(), "tmpfs", flags, options) != 0) throw_errno("mount a private " + path.string());
}

/// A copy of what is mounted at a path and under it, not yet anywhere.
class Tree {
 public:
  Tree(const fs::path& path, bool writable) : path_(path), fd_(copy_of(path)) {
    if (!fd_) throw_errno("take " + path.string() + " inside");
    struct stat info {};
    is_folder_ = ::fstat(fd_.get(), &info) == 0 && S_ISDIR(info.st_mode);
    // A device is one only where somebody has asked for it.
    const std::uint64_t devices = is_within(path, "/dev") ? 0 : MOUNT_ATTR_NODEV;
    const std::uint64_t attributes = MOUNT_ATTR_NOSUID | devices | (writable ? 0 : MOUNT_ATTR_RDONLY);
    if (set_attributes(fd_.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, attributes) != 0) {
      throw_errno("close " + path.string());
    }
  }
  /// Makes the place for it where something private covers that.
  void attach_at(const fs::path& path) const {
    if (::access(path.c_str(), F_OK) != 0) {
      if (is_folder_) {
        make_folders(path);
      } else {
        write_file(path, {}, 0400);
      }
    }
    if (attach(fd_.get(), path) != 0) throw_errno("put " + path.string() + " inside");
  }
  void attach_here() const { attach_at(path_); }
  /// Only where there is something.
  void attach_over() const {
    if (attach(fd_.get(), path_) != 0) throw_errno("put " + path_.string() + " inside");
  }

 private:
  fs::path path_;
  UniqueFd fd_;
  bool is_folder_ = false;
};

/// What is done at which path. A folder comes before everything in it, so the order of paths will do.
struct Step {
  std::optional<Tree> expose;
  bool hide = false;
};

class Plan {
 public:
  explicit Plan(const FileView& view) : view_(view) {
    for (const auto& path : view.writable) expose(path, true);
    for (const auto& path : view.visible) {
      if (is_covered(path)) expose(path, false);
    }
    for (const auto name : kSystemUnderRun) {
      const fs::path path(name);
      if (::access(path.c_str(), F_OK) == 0) expose(path, false);
    }
    for (const auto& path : view.read_only) {
      pin_folders_above(path);
      expose(path, false);
    }
    for (const auto& path : view.hidden) {
      pin_folders_above(path);
      steps_[path].expose.reset();
      steps_[path].hide = true;
    }
  }
  std::map<fs::path, Step>& steps() { return steps_; }
  /// Folders above what is covered, that are mounted so that they stay where they are.
  const std::vector<fs::path>& pins() const { return pins_; }

 private:
  void expose(const fs::path& path, bool writable) { steps_[path].expose.emplace(path, writable); }

  /// By something private or hidden, and nothing nearer shows it.
  bool is_covered(const fs::path& path) const {
    const auto nearest = [&](const auto& folders) {
      std::size_t length = 0;
      for (const auto& folder : folders) {
        if (is_within(path, folder)) length = std::max(length, fs::path(folder).native().size());
      }
      return length;
    };
    return std::max(nearest(kPrivateFolders), nearest(view_.hidden)) > nearest(view_.writable) &&
           !steps_.contains(path);
  }
  /// Nothing above may be moved away, to put another in its place: a mount point cannot be.
  void pin_folders_above(const fs::path& path) {
    for (fs::path above = path.parent_path(); above != above.parent_path(); above = above.parent_path()) {
      const auto holds_it = [&](const auto& folder) { return folder != above && is_within(above, folder); };
      if (std::none_of(view_.writable.begin(), view_.writable.end(), holds_it)) return;
      const auto& fixed = view_.read_only;
      if (std::find(fixed.begin(), fixed.end(), above) != fixed.end() ||
          std::any_of(fixed.begin(), fixed.end(), holds_it)) {
        continue;
      }
      if (steps_.contains(above)) continue;
      expose(above, true);
      pins_.push_back(above);
    }
  }

  const FileView& view_;
  std::map<fs::path, Step> steps_;
  std::vector<fs::path> pins_;
};

void hide(const fs::path& path, bool has_visible) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return;  // something private covers it
  if (has_visible) return mount_private(path, "mode=0755,size=64k", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  const UniqueFd nothing = copy_of(S_ISDIR(info.st_mode) ? kEmptyFolder : kEmptyFile);
  if (!nothing || attach(nothing.get(), path) != 0) throw_errno("hide " + path.string());
}

/// Those of every program: taken before everything else is closed to devices.
std::vector<std::pair<std::string, UniqueFd>> take_devices() {
  constexpr unsigned copy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  std::vector<std::pair<std::string, UniqueFd>> nodes;
  for (const char* name : kDevices) {
    const std::string path = std::string("/dev/") + name;
    UniqueFd node(::open_tree(AT_FDCWD, path.c_str(), copy));
    if (!node && errno == ENOENT) continue;
    if (!node) throw_errno("take " + path + " inside");
    nodes.emplace_back(path, std::move(node));
  }
  return nodes;
}

void set_up_devices(const std::vector<std::pair<std::string, UniqueFd>>& nodes) {
  mount_private("/dev", "mode=0755,size=64k", MS_NOSUID | MS_NOEXEC);
  for (const auto& [path, node] : nodes) {
    write_file(path, {}, 0600);
    if (attach(node.get(), path) != 0) throw_errno("put " + path + " inside");
  }
  make_folders("/dev/pts");
  if (::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") != 0) {
    throw_errno("mount a private /dev/pts");
  }
  make_folders("/dev/shm");
  mount_private("/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV);
  const std::pair<const char*, const char*> links[]{{"pts/ptmx", "/dev/ptmx"},
                                                    {"/proc/self/fd", "/dev/fd"},
                                                    {"/proc/self/fd/0", "/dev/stdin"},
                                                    {"/proc/self/fd/1", "/dev/stdout"},
                                                    {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [target, link] : links) {
    if (::symlink(target, link) != 0) throw_errno(std::string("make ") + link);
  }
}

void set_up_private_folders() {
  for (const char* path : {"/tmp", "/var/tmp"}) {
    struct stat info {};
    if (::lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) mount_private(path, "mode=1777", MS_NOSUID | MS_NODEV);
  }
  struct stat info {};
  if (::lstat("/run", &info) != 0 || !S_ISDIR(info.st_mode)) {
    throw Error(ErrorKind::failed, "this system has no folder /run");
  }
  mount_private("/run", "mode=0755", MS_NOSUID | MS_NODEV);
  if (::lstat("/var/run", &info) == 0 && S_ISDIR(info.st_mode))
    mount_private("/var/run", "mode=0755", MS_NOSUID | MS_NODEV);
  make_folders("/run/user/" + std::to_string(::geteuid()), 0700);
  make_folders("/run/lock", 01777);
  make_folders(kEmptyFolder, 0555);
  write_file(kEmptyFile, {}, 0444);
  for (const char* path : {kEmptyFile, kEmptyFolder}) {
    Tree(path, false).attach_here();
  }
}

/// Only this machine: every other name is the stub's to answer.
void set_up_hosts() {
  char name[256] = "localhost";
  ::gethostname(name, sizeof name - 1);
  const std::string text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.0.1 " + std::string(name) + "\n";
  const fs::path own = std::string(kSessionFolder) + "/hosts";
  write_file(own, as_bytes(text), 0444);
  std::error_code missing;
  const fs::path hosts = fs::canonical("/etc/hosts", missing);
  if (!missing) Tree(own, false).attach_at(hosts);
}

/// The stub that answers inside. The file may be a link into /run, which is private by now.
void set_up_names(const fs::path& resolv_conf) {
  constexpr std::string_view text = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n";
  const fs::path own = std::string(kSessionFolder) + "/resolv.conf";
  write_file(own, as_bytes(text), 0444);
  if (resolv_conf.empty()) return;  // without one, 127.0.0.1 is what is asked
  if (::access(resolv_conf.c_str(), F_OK) != 0) return write_file(resolv_conf, as_bytes(text), 0444);
  Tree(own, false).attach_at(resolv_conf);
}

/// Where only those processes are seen that the viewer may trace (Linux 5.8): a sub-agent, which has a Landlock domain
/// of its own, sees none of its parent's, whose command lines may hold tokens.
void set_up_proc() {
  constexpr unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
  if (::mount("proc", "/proc", "proc", flags, "hidepid=ptraceable") == 0) return;
  if (::mount("proc", "/proc", "proc", flags, nullptr) != 0) throw_errno("mount /proc");
}

/// A copy of a folder of roots with some files of the session's in place of, and besides, what is there.
bool lay_over(const std::string& upper, const std::string& folder) {
  const std::string options = "lowerdir=" + upper + ":" + folder;
  return ::mount("overlay", folder.c_str(), "overlay", MS_NOSUID | MS_NODEV | MS_RDONLY, options.c_str()) == 0;
}

constexpr const char* kDebianRoots = "/etc/ssl/certs";
// Fedora and RHEL, SUSE, Alpine; Debian, where an overlay is not to be had.
constexpr const char* kBundles[]{"/etc/ssl/certs/ca-certificates.crt",
                                 "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem",
                                 "/etc/ssl/cert.pem"};
constexpr const char* kJavaStores[]{"/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts"};

void replace(const std::string& by, const char* path) {
  std::error_code missing;
  const fs::path real = fs::canonical(path, missing);
  if (missing) return;
  Tree(by, false).attach_at(real);
}

bool holds_something_visible(const FileView& view, const fs::path& path) {
  return std::any_of(view.visible.begin(), view.visible.end(),
                     [&](const auto& shown) { return shown != path && is_within(shown, path); });
}

/// What fails because of the files that somebody has put there is no lack of the kernel's, and no reason for a weaker
/// level.
template <class Steps>
void of_files(const Steps& steps) {
  try {
    steps();
  } catch (const Error& error) {
    throw Error(
        ErrorKind::denied, std::string("the agent's files cannot be set up: ") + error.what(),
        "look for links, and for files that change, in the working directory and in the folders that agents keep");
  }
}

}  // namespace

std::vector<fs::path> set_up_mounts(const FileView& view) {
  // From now on nothing that is mounted outside appears here.
  if (set_attributes(AT_FDCWD, "/", AT_RECURSIVE, 0, MS_PRIVATE) != 0) throw_errno("make mounts private");
  std::error_code missing;
  const fs::path resolv_conf = fs::weakly_canonical("/etc/resolv.conf", missing);
  const auto devices = take_devices();
  std::optional<Plan> plan;
  of_files([&] { plan.emplace(view); });
  if (set_attributes(AT_FDCWD, "/", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID) != 0) {
    throw_errno("make everything read-only");
  }
  set_up_proc();
  set_up_devices(devices);
  set_up_private_folders();
  set_up_names(resolv_conf);
  set_up_hosts();
  of_files([&] {
    for (auto& [path, step] : plan->steps()) {
      if (step.hide) hide(path, holds_something_visible(view, path));
      if (step.expose) step.expose->attach_here();
    }
    if (::chdir(view.working_directory.c_str()) != 0) throw_errno("enter " + view.working_directory.string());
  });
  return plan->pins();
}

MountGuard::MountGuard(const FileView& view, const std::vector<fs::path>& pins)
    : view_(view), changes_(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)) {
  if (!changes_) throw_errno("watch mounts");
  for (const auto& path : view.writable) {
    const auto holds_it = [&](const auto& folder) { return folder != path && is_within(path, folder); };
    const bool is_inside = std::any_of(view.writable.begin(), view.writable.end(), holds_it);
    if (is_inside) covers_.push_back({path, Cover::Kind::pin});
  }
  for (const auto& path : pins) covers_.push_back({path, Cover::Kind::pin});
  for (const auto& path : view.read_only) covers_.push_back({path, Cover::Kind::read_only});
  for (const auto& path : view.hidden) covers_.push_back({path, Cover::Kind::hidden});
  std::sort(covers_.begin(), covers_.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
}

int MountGuard::patience() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_look_ - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

void MountGuard::restore(bool changed) {
  // The kernel tells of a change before it is done: so a look at once, and then again.
  using std::chrono_literals::operator""ms;
  constexpr std::chrono::milliseconds waits[]{1ms, 5ms, 20ms, 100ms, 250ms};
  const auto now = std::chrono::steady_clock::now();
  if (!changed && now < next_look_) return;
  bool any = changed;
  for (const auto& cover : covers_) any = put_back(cover) || any;
  calm_ = any ? 0 : std::min(calm_ + 1, std::size(waits) - 1);
  next_look_ = now + waits[calm_];
}

bool MountGuard::put_back(const Cover& cover) const {
  const UniqueFd place = place_at(cover.path);
  struct statx info {};
  // What is gone, or a link by now, is nothing to cover.
  if (!place || ::statx(place.get(), "", AT_EMPTY_PATH, STATX_TYPE, &info) != 0 ||
      (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
    return false;
  }
  try {
    if (cover.kind == Cover::Kind::hidden) {
      hide(cover.path, holds_something_visible(view_, cover.path));
    } else {
      // What is gone by now is not made: this is somebody's project.
      Tree(cover.path, cover.kind == Cover::Kind::pin).attach_over();
    }
  } catch (const Error&) {
    // It is changing: the next look is soon.
  }
  return true;
}

void add_session_files(const std::vector<SessionFile>& files, const TrustedRoots& roots) {
  const std::string folder = kSessionFolder;
  for (const auto& file : files) write_file(fs::path(folder) / file.name, file.contents, 0444);
  const std::string upper = folder + "/roots";
  make_folders(upper + "/java");
  const auto link = [&](const std::string& name, const std::string& as) {
    if (::link((folder + "/" + name).c_str(), (upper + "/" + as).c_str()) != 0) throw_errno("make roots of trust");
  };
  link(roots.bundle, "ca-certificates.crt");
  link(roots.java, "java/cacerts");
  link(roots.own, roots.hash);
  const bool overlaid = ::access(kDebianRoots, F_OK) == 0 && lay_over(upper, kDebianRoots);
  for (const char* bundle : kBundles) {
    if (!overlaid || !is_within(bundle, kDebianRoots)) replace(folder + "/" + roots.bundle, bundle);
  }
  for (const char* store : kJavaStores) {
    if (!overlaid || !is_within(store, kDebianRoots)) replace(folder + "/" + roots.java, store);
  }
  Tree(folder, false).attach_here();
}

}  // namespace agentvault::sandbox
