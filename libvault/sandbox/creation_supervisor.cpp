#include "sandbox/creation_supervisor.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <map>

#include "sandbox/file_view.hpp"
#include "sandbox/landlock.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;                 // as the kernel has it
constexpr mode_t kForOthersToRun = 06000;      // set-uid, set-gid
constexpr std::size_t kMostRepositories = 20;  // that are remembered
constexpr std::string_view kRepository = ".git";

// What a program forbids itself and its children by a Landlock of its own cannot be read from outside; making files on
// its behalf would undo that. So whoever makes such rules is marked, by one byte less in a limit that hardly anything
// reaches: its children inherit it, and no process without privileges raises it again (setrlimit(2)).
constexpr auto kMark = RLIMIT_MSGQUEUE;

std::string name_of(const UniqueFd& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

/// With the caller's own, a file is made as it would have made it.
class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  mode_t before_;
};

int result_of(int returned) {
  return returned >= 0 ? 0 : errno;
}

}  // namespace

CreationSupervisor::CreationSupervisor(Policy policy) : policy_(std::move(policy)) {
  rlimit limit{};
  unmarked_ = ::getrlimit(kMark, &limit) == 0 ? limit.rlim_max : 0;
}

std::optional<CreationSupervisor::Place> CreationSupervisor::place_of(const Notification& asked, int from,
                                                                      std::string path) const {
  Place place;
  for (; path.size() > 1 && path.back() == '/'; path.pop_back()) place.must_be_folder = true;
  const auto slash = path.rfind('/');
  place.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (place.name.empty() || place.name == "." || place.name == "..") return std::nullopt;
  const std::string above = slash == std::string::npos ? "" : path.substr(0, std::max<std::size_t>(slash, 1));
  place.folder = asked.file(from, above, Notification::LastLink::follow);
  if (!place.folder) return std::nullopt;
  std::error_code unknown;
  place.path = fs::read_symlink(name_of(place.folder), unknown);
  place.supervised = std::any_of(policy_.folders.begin(), policy_.folders.end(),
                                 [&](const auto& folder) { return is_within(place.path, folder); });
  return place;
}

std::optional<CreationSupervisor::Place> CreationSupervisor::place_at(const Notification& asked, int from,
                                                                      int path_argument) const {
  auto path = asked.text(asked.argument(path_argument), PATH_MAX);
  if (!path) return std::nullopt;
  return place_of(asked, from, std::move(*path));
}

CreationSupervisor::Entry CreationSupervisor::entry_at(const Place& place) {
  struct stat info {};
  if (::fstatat(place.folder.get(), place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    return S_ISLNK(info.st_mode) ? Entry::link : S_ISDIR(info.st_mode) ? Entry::folder : Entry::other;
  }
  return errno == ENOENT ? Entry::missing : Entry::unknown;
}

bool CreationSupervisor::refuses(const Place& place, const fs::path* moved) {
  const fs::path path = place.whole();
  const auto program = moved != nullptr ? policy_.names.obeyed_within(path, *moved) : policy_.names.obeyed_at(path);
  if (program && entry_at(place) == Entry::missing) policy_.on_refusal(path, *program);
  const bool is_repository = place.name == kRepository && repositories_.size() < kMostRepositories;
  if (!program && is_repository) repositories_.push_back(path);
  return program.has_value();
}

bool CreationSupervisor::restricts_itself(pid_t thread) const {
  rlimit limit{};
  return ::prlimit(thread, kMark, nullptr, &limit) != 0 || limit.rlim_max < unmarked_;
}

void CreationSupervisor::note_restriction(const Notification& asked) const {
  std::uint64_t forbidden = 0;
  const bool makes_rules = asked.argument(2) == 0 && asked.copy(asked.argument(0), &forbidden, sizeof forbidden);
  if (!makes_rules || (forbidden & access::kWrite) == 0) return asked.leave_to_kernel();
  if (unmarked_ == 0) return asked.answer(EOPNOTSUPP);
  rlimit limit{};
  if (!restricts_itself(asked.thread())) {
    const bool known = ::prlimit(asked.thread(), kMark, nullptr, &limit) == 0 && asked.still_waits();
    const rlimit marked{std::min(limit.rlim_cur, unmarked_ - 1), unmarked_ - 1};
    if (!known || ::prlimit(asked.thread(), kMark, &marked, nullptr) != 0) return asked.answer(EOPNOTSUPP);
  }
  asked.leave_to_kernel();
}

bool CreationSupervisor::may_make(const Notification& asked, const Place& place) {
  return place.supervised && !place.must_be_folder && entry_at(place) == Entry::missing &&
         !restricts_itself(asked.thread());
}

void CreationSupervisor::make(const Notification& asked, std::optional<Place> place, const Make& how) {
  if (!place || !may_make(asked, *place)) return asked.leave_to_kernel();
  const auto mask = status_of(asked.thread()).umask;
  if (!mask || !asked.still_waits()) return asked.leave_to_kernel();
  if (refuses(*place)) return asked.answer(EACCES);
  const Umask own(*mask);
  asked.answer(how(*place));
}

void CreationSupervisor::make_folder(const Notification& asked, std::optional<Place> place, std::uint64_t mode) {
  if (place) place->must_be_folder = false;  // it will be one
  make(asked, std::move(place), [mode](const Place& there) {
    return result_of(::mkdirat(there.folder.get(), there.name.c_str(), static_cast<mode_t>(mode)));
  });
}

void CreationSupervisor::open(const Notification& asked, int from, std::uint64_t path, std::uint64_t flags,
                              std::uint64_t mode) {
  constexpr int others = O_PATH | O_DIRECTORY;  // which make nothing
  const int how = static_cast<int>(flags);
  if ((mode & kForOthersToRun) != 0) return asked.answer(EPERM);
  auto text = asked.text(path, PATH_MAX);
  if (!text || (how & others) != 0) return asked.leave_to_kernel();
  auto place = place_of(asked, from, std::move(*text));
  // A link that leads to nothing: what it names is made.
  for (int links = 0; place && place->supervised && entry_at(*place) == Entry::link && links < kMostLinks; ++links) {
    std::error_code unknown;
    const fs::path target = fs::read_symlink(name_of(place->folder) + "/" + place->name, unknown);
    if (unknown || (how & (O_EXCL | O_NOFOLLOW)) != 0) return asked.leave_to_kernel();
    place = place_of(asked, AT_FDCWD, (place->path / target).string());
  }
  if (!place || !may_make(asked, *place)) return asked.leave_to_kernel();
  const auto mask = status_of(asked.thread()).umask;
  if (!mask || !asked.still_waits()) return asked.leave_to_kernel();
  if (refuses(*place)) return asked.answer(EACCES);
  const Umask own(*mask);
  const UniqueFd file(::openat(place->folder.get(), place->name.c_str(),
                               how | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, static_cast<mode_t>(mode)));
  // Now that it is there the kernel can open it, which is faster; but not where that would be another call.
  constexpr std::uint64_t for_owner = S_IRUSR | S_IWUSR;
  const bool opens_again = (how & O_EXCL) == 0 && (mode & for_owner) == for_owner && (*mask & for_owner) == 0;
  if (file && opens_again) return asked.leave_to_kernel();
  if (file) return asked.hand_over(file, (how & O_CLOEXEC) != 0);
  // Somebody was faster: the kernel opens it, or says that it is there.
  if (errno == EEXIST) return asked.leave_to_kernel();
  asked.answer(errno);
}

void CreationSupervisor::make_node(const Notification& asked, std::optional<Place> place, std::uint64_t mode) {
  if ((mode & kForOthersToRun) != 0) return asked.answer(EPERM);
  const auto kind = mode & S_IFMT;
  if (kind != 0 && kind != S_IFREG && kind != S_IFIFO && kind != S_IFSOCK) return asked.answer(EPERM);
  make(asked, std::move(place), [mode](const Place& there) {
    return result_of(::mknodat(there.folder.get(), there.name.c_str(), static_cast<mode_t>(mode), 0));
  });
}

void CreationSupervisor::make_symbolic_link(const Notification& asked, std::optional<Place> place) {
  const auto target = asked.text(asked.argument(0), PATH_MAX);
  if (!target) return asked.leave_to_kernel();
  make(asked, std::move(place), [&](const Place& there) {
    return result_of(::symlinkat(target->c_str(), there.folder.get(), there.name.c_str()));
  });
}

void CreationSupervisor::make_link(const Notification& asked, int from, std::uint64_t path, std::optional<Place> place,
                                   std::uint64_t flags) {
  const auto text = asked.text(path, PATH_MAX);
  if (!text || (flags & ~std::uint64_t{AT_SYMLINK_FOLLOW | AT_EMPTY_PATH}) != 0) return asked.leave_to_kernel();
  if (text->empty() && (flags & AT_EMPTY_PATH) == 0) return asked.answer(ENOENT);
  const bool follow = (flags & AT_SYMLINK_FOLLOW) != 0;
  const UniqueFd file = asked.file(from, *text, follow ? Notification::LastLink::follow : Notification::LastLink::hold);
  if (!file) return asked.leave_to_kernel();
  make(asked, std::move(place), [&](const Place& there) {
    return result_of(
        ::linkat(AT_FDCWD, name_of(file).c_str(), there.folder.get(), there.name.c_str(), AT_SYMLINK_FOLLOW));
  });
}

void CreationSupervisor::rename(const Notification& asked, std::optional<Place> from, std::optional<Place> to,
                                std::uint64_t flags) {
  const bool exchanges = flags == RENAME_EXCHANGE;
  const bool known = flags == 0 || flags == RENAME_NOREPLACE || exchanges;
  const bool supervised = from && to && (to->supervised || (exchanges && from->supervised));
  if (!known || !supervised || restricts_itself(asked.thread()) || !asked.still_waits()) {
    return asked.leave_to_kernel();
  }
  const auto moves = [&](const Place& what, const Place& where) {
    const auto entry = entry_at(what);
    if (entry == Entry::missing || entry == Entry::unknown) return 0;  // which the call itself finds out
    const bool is_folder = entry == Entry::folder;
    if (!is_folder && (what.must_be_folder || where.must_be_folder)) return ENOTDIR;
    const auto& names = policy_.names;
    // What is in it was not looked at when it was made. Whoever moves files then copies them.
    if (is_folder && names.is_in_package(what.whole()) && !names.is_in_package(where.whole())) return EXDEV;
    const fs::path folder = what.whole();
    return refuses(where, is_folder ? &folder : nullptr) ? EACCES : 0;
  };
  int error = moves(*from, *to);
  if (error == 0 && exchanges) error = moves(*to, *from);
  if (error != 0) return asked.answer(error);
  asked.answer(
      result_of(static_cast<int>(::syscall(SYS_renameat2, from->folder.get(), from->name.c_str(), to->folder.get(),
                                           to->name.c_str(), static_cast<unsigned>(flags)))));
}

namespace {

/// The calls, and at which arguments they have what. Below zero: not at all.
struct Shape {
  enum class Kind { open, folder, node, symbolic_link, link, rename, rules } kind;
  int from = -1;  // the folder of its path; without, the working directory
  int path = 0;
  int flags = -1;
  int mode = -1;
  int from_2 = -1;  // of its second path
  int path_2 = -1;
};

const std::map<int, Shape>& shapes() {
  using Kind = Shape::Kind;
  static const std::map<int, Shape> all {
#if defined(SYS_open)
    {SYS_open, {Kind::open, -1, 0, 1, 2}}, {SYS_creat, {Kind::open, -1, 0, -1, 1}},
        {SYS_mkdir, {Kind::folder, -1, 0, -1, 1}}, {SYS_mknod, {Kind::node, -1, 0, -1, 1}},
        {SYS_symlink, {Kind::symbolic_link, -1, 1}}, {SYS_link, {Kind::link, -1, 0, -1, -1, -1, 1}},
        {SYS_rename, {Kind::rename, -1, 0, -1, -1, -1, 1}},
#endif
#if defined(SYS_renameat)
        {SYS_renameat, {Kind::rename, 0, 1, -1, -1, 2, 3}},
#endif
        {SYS_openat, {Kind::open, 0, 1, 2, 3}}, {SYS_mkdirat, {Kind::folder, 0, 1, -1, 2}},
        {SYS_mknodat, {Kind::node, 0, 1, -1, 2}}, {SYS_symlinkat, {Kind::symbolic_link, 1, 2}},
        {SYS_linkat, {Kind::link, 0, 1, 4, -1, 2, 3}}, {SYS_renameat2, {Kind::rename, 0, 1, 4, -1, 2, 3}},
        {SYS_landlock_create_ruleset, {Kind::rules}},
  };
  return all;
}

}  // namespace

const std::vector<int>& CreationSupervisor::calls() {
  static const std::vector<int> numbers = [] {
    std::vector<int> out;
    for (const auto& [number, shape] : shapes()) out.push_back(number);
    return out;
  }();
  return numbers;
}

void CreationSupervisor::answer(const Notification& asked) {
  using Kind = Shape::Kind;
  const auto found = shapes().find(asked.call());
  if (found == shapes().end()) return asked.answer(EPERM);
  const Shape& shape = found->second;
  const auto number = [&](int argument, std::uint64_t otherwise) {
    return argument < 0 ? otherwise : asked.argument(argument);
  };
  const int from = static_cast<int>(number(shape.from, static_cast<std::uint64_t>(AT_FDCWD)));
  const int from_2 = static_cast<int>(number(shape.from_2, static_cast<std::uint64_t>(AT_FDCWD)));
  const auto mode = number(shape.mode, 0);
  switch (shape.kind) {
    case Kind::open:
      return open(asked, from, asked.argument(shape.path), number(shape.flags, O_CREAT | O_WRONLY | O_TRUNC), mode);
    case Kind::folder:
      return make_folder(asked, place_at(asked, from, shape.path), mode);
    case Kind::node:
      return make_node(asked, place_at(asked, from, shape.path), mode);
    case Kind::symbolic_link:
      return make_symbolic_link(asked, place_at(asked, from, shape.path));
    case Kind::link:
      return make_link(asked, from, asked.argument(shape.path), place_at(asked, from_2, shape.path_2),
                       number(shape.flags, 0));
    case Kind::rename:
      return rename(asked, place_at(asked, from, shape.path), place_at(asked, from_2, shape.path_2),
                    number(shape.flags, 0));
    case Kind::rules:
      return note_restriction(asked);
  }
}

}  // namespace agentvault::sandbox
