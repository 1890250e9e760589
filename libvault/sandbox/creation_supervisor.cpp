#include "sandbox/creation_supervisor.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <map>

#include "sandbox/file_view.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/place.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;             // as the kernel has it
constexpr int kMostTries = 100;            // while others make and remove it
constexpr mode_t kForOthersToRun = 06000;  // set-uid, set-gid
constexpr std::size_t kMostProcesses = 10'000;
constexpr std::string_view kRepository = ".git";

// What a program forbids itself and its children by a Landlock of its own cannot be read from outside; making files on
// its behalf would undo that. So whoever makes or enters such rules is marked, by a little less of a limit that nobody
// reaches: its children inherit it, and no process without privileges raises it again (setrlimit(2)).
constexpr auto kMark = RLIMIT_RTTIME;

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
  std::error_code unknown;
  if (place.folder) place.path = fs::read_symlink(name_of_descriptor(place.folder.get()), unknown);
  // Also one that is too long to be told.
  if (!place.folder || unknown || !place.path.is_absolute()) return std::nullopt;
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
  if (::fstatat(place.folder.get(), place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Entry::missing : Entry::unknown;
  }
  switch (info.st_mode & S_IFMT) {
    case S_IFDIR:
      return Entry::folder;
    case S_IFREG:
      return Entry::file;
    case S_IFLNK:
      return Entry::link;
    default:
      return Entry::other;
  }
}

std::optional<std::string_view> CreationSupervisor::obeyed(const fs::path& path, As as, const UniqueFd& moved) const {
  const auto& names = policy_.names;
  if (as == As::link) return names.obeyed_through(path);
  return as == As::folder_with_contents ? names.obeyed_within(path, moved) : names.obeyed_at(path);
}

bool CreationSupervisor::refuses(const Place& place, As as, const UniqueFd& moved) {
  const auto program = obeyed(place.whole(), as, moved);
  if (program && entry_at(place) == Entry::missing) policy_.on_refusal(place.whole(), *program);
  return program.has_value();
}

bool CreationSupervisor::was_led_astray(const Place& place, As as, const UniqueFd& moved) const {
  std::error_code unknown;
  const fs::path now = fs::read_symlink(name_of_descriptor(place.folder.get()), unknown);
  const bool looks = now != place.path || as == As::folder_with_contents;
  return unknown || (looks && obeyed(now / place.name, as, moved));
}

void CreationSupervisor::note_repository(const Place& place) {
  if (place.name != kRepository || repositories_.size() >= kMostRepositories) return;
  repositories_.emplace_back(::fcntl(place.folder.get(), F_DUPFD_CLOEXEC, 0));
}

std::vector<fs::path> CreationSupervisor::repositories() const {
  std::vector<fs::path> out;
  for (const auto& folder : repositories_) {
    std::error_code unknown;
    const fs::path path = fs::read_symlink(name_of_descriptor(folder.get()), unknown) / kRepository;
    if (!unknown && std::find(out.begin(), out.end(), path) == out.end()) out.push_back(path);
  }
  return out;
}

bool CreationSupervisor::restricts_itself(pid_t thread) const {
  rlimit limit{};
  return ::prlimit(thread, kMark, nullptr, &limit) != 0 || limit.rlim_max < unmarked_;
}

bool CreationSupervisor::mark(const Notification& asked) const {
  if (restricts_itself(asked.thread())) return true;
  rlimit limit{};
  const bool known = ::prlimit(asked.thread(), kMark, nullptr, &limit) == 0 && asked.still_waits();
  const rlimit marked{std::min(limit.rlim_cur, unmarked_ - 1), unmarked_ - 1};
  return known && unmarked_ > 0 && ::prlimit(asked.thread(), kMark, &marked, nullptr) == 0;
}

/// landlock_create_ruleset(2). What the memory holds is whoever makes the rules' own to defend.
void CreationSupervisor::hear_rules(const Notification& asked) {
  std::uint64_t forbidden = 0;
  const bool makes_rules = asked.argument(2) == 0 && asked.copy(asked.argument(0), &forbidden, sizeof forbidden);
  if (!makes_rules) return asked.leave_to_kernel();
  if (forbidden == 0 || forbidden == access::kNothingMuch) {
    const auto process = status_of(asked.thread()).process;
    if (process && with_harmless_rules_.size() < kMostProcesses) {
      with_harmless_rules_.insert(static_cast<pid_t>(*process));
    }
    return asked.leave_to_kernel();
  }
  if (!mark(asked)) return asked.answer(EOPNOTSUPP);
  asked.leave_to_kernel();
}

/// landlock_restrict_self(2). The rules may be another's.
void CreationSupervisor::hear_restriction(const Notification& asked) {
  const auto process = status_of(asked.thread()).process;
  const bool harmless = process && with_harmless_rules_.erase(static_cast<pid_t>(*process)) > 0;
  if (!harmless && !mark(asked)) return asked.answer(EPERM);
  asked.leave_to_kernel();
}

bool CreationSupervisor::is_ours(const Notification& asked, const Place& place) const {
  return place.supervised && !restricts_itself(asked.thread()) && asked.still_waits();
}

void CreationSupervisor::make(const Notification& asked, std::optional<Place> place, As as, const Make& how) {
  if (!place || !is_ours(asked, *place) || place->must_be_folder) return asked.leave_to_kernel();
  const auto entry = entry_at(*place);
  if (entry == Entry::unknown) return asked.leave_to_kernel();
  if (entry != Entry::missing) return asked.answer(EEXIST);
  const auto mask = status_of(asked.thread()).umask;
  if (!mask || refuses(*place, as)) return asked.answer(EACCES);
  const Umask own(*mask);
  int error = how(*place);
  if (error == 0 && was_led_astray(*place, as)) {
    for (const int kind : {0, AT_REMOVEDIR}) ::unlinkat(place->folder.get(), place->name.c_str(), kind);
    error = EACCES;
  }
  if (error == 0) note_repository(*place);
  asked.answer(error);
}

void CreationSupervisor::make_folder(const Notification& asked, std::optional<Place> place, std::uint64_t mode) {
  if (place) place->must_be_folder = false;  // it will be one
  make(asked, std::move(place), As::file, [mode](const Place& there) {
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
  for (int links = 0; place && entry_at(*place) == Entry::link && links < kMostLinks; ++links) {
    std::error_code unknown;
    const fs::path target = fs::read_symlink(name_of_descriptor(place->folder.get()) + "/" + place->name, unknown);
    // One of a descriptor leads to its file, whatever that is called by now.
    const bool is_descriptor = is_within(place->path, "/proc");
    if (unknown || is_descriptor || place->must_be_folder || (how & (O_EXCL | O_NOFOLLOW)) != 0)
      return asked.leave_to_kernel();
    place = place_of(asked, AT_FDCWD, (place->path / target).string());
  }
  if (!place || !is_ours(asked, *place) || place->must_be_folder) return asked.leave_to_kernel();
  const auto mask = status_of(asked.thread()).umask;
  if (!mask) return asked.answer(EACCES);
  const Umask own(*mask);
  UniqueFd file;
  bool made = false;
  const int error = open_at(*place, how, static_cast<mode_t>(mode), file, made);
  if (error == EAGAIN) return asked.leave_to_kernel();
  if (error != 0) return asked.answer(error);
  const bool astray = made && was_led_astray(*place, As::file);
  if (astray) asked.answer(EACCES);
  if ((astray || !asked.hand_over(std::move(file), (how & O_CLOEXEC) != 0)) && made) {
    ::unlinkat(place->folder.get(), place->name.c_str(), 0);
  }
}

int CreationSupervisor::open_at(const Place& place, int flags, mode_t mode, UniqueFd& file, bool& made) {
  // It may be made, and removed, by others meanwhile.
  for (int tries = 0; tries < kMostTries; ++tries) {
    const auto entry = entry_at(place);
    if (entry == Entry::missing) {
      if (refuses(place)) return EACCES;
      file.reset(::openat(place.folder.get(), place.name.c_str(), flags | O_CREAT | O_EXCL | O_CLOEXEC, mode));
      made = static_cast<bool>(file);
      if (made) note_repository(place);
      if (made || errno != EEXIST) return made ? 0 : errno;
      continue;
    }
    if (entry == Entry::unknown) return EAGAIN;
    if ((flags & O_EXCL) != 0) return EEXIST;
    // A pipe could make this process wait; it is not gone as quickly as that, either.
    if (entry != Entry::file) return EAGAIN;
    const UniqueFd held(::openat(place.folder.get(), place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!held || ::fstat(held.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    // Whoever holds a lease on it makes the agent wait, and not this process.
    file.reset(
        ::open(name_of_descriptor(held.get()).c_str(), (flags & ~O_CREAT & ~O_NOFOLLOW) | O_CLOEXEC | O_NONBLOCK));
    if (!file) return errno == EWOULDBLOCK ? EAGAIN : errno;
    if ((flags & O_NONBLOCK) == 0) ::fcntl(file.get(), F_SETFL, flags & (O_APPEND | O_DIRECT | O_NOATIME | O_ASYNC));
    return 0;
  }
  return EAGAIN;
}

void CreationSupervisor::make_node(const Notification& asked, std::optional<Place> place, std::uint64_t mode) {
  if ((mode & kForOthersToRun) != 0) return asked.answer(EPERM);
  const auto kind = mode & S_IFMT;
  if (kind != 0 && kind != S_IFREG && kind != S_IFIFO && kind != S_IFSOCK) return asked.answer(EPERM);
  make(asked, std::move(place), As::file, [mode](const Place& there) {
    return result_of(::mknodat(there.folder.get(), there.name.c_str(), static_cast<mode_t>(mode), 0));
  });
}

void CreationSupervisor::make_symbolic_link(const Notification& asked, std::optional<Place> place) {
  const auto target = asked.text(asked.argument(0), PATH_MAX);
  if (!target) return asked.leave_to_kernel();
  make(asked, std::move(place), As::link, [&](const Place& there) {
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
  // What it links to may be a symbolic link.
  make(asked, std::move(place), As::link, [&](const Place& there) {
    return result_of(::linkat(AT_FDCWD, name_of_descriptor(file.get()).c_str(), there.folder.get(), there.name.c_str(),
                              AT_SYMLINK_FOLLOW));
  });
}

int CreationSupervisor::judge_move(const Place& from, const Place& to, const UniqueFd& moved, As& as) {
  const auto entry = entry_at(from);
  if (entry == Entry::missing) return ENOENT;
  if (entry == Entry::unknown) return EAGAIN;
  const bool is_folder = entry == Entry::folder;
  if (!is_folder && (from.must_be_folder || to.must_be_folder)) return ENOTDIR;
  if (is_folder && policy_.names.holds_project(from.whole())) return EBUSY;
  // What is in it was not looked at when it was made. Whoever moves files then copies them, one by one.
  if (is_folder && policy_.names.is_exempt(from.whole()) && !policy_.names.is_exempt(to.whole())) return EXDEV;
  as = is_folder ? As::folder_with_contents : entry == Entry::link ? As::link : As::file;
  return refuses(to, as, moved) ? EACCES : 0;
}

void CreationSupervisor::rename(const Notification& asked, std::optional<Place> from, std::optional<Place> to,
                                std::uint64_t flags) {
  const bool exchanges = flags == RENAME_EXCHANGE;
  const bool known = flags == 0 || flags == RENAME_NOREPLACE || exchanges;
  if (!known || !from || !to || !(to->supervised || (exchanges && from->supervised)) ||
      restricts_itself(asked.thread()) || !asked.still_waits()) {
    return asked.leave_to_kernel();
  }
  const auto hold = [](const Place& place) {
    return UniqueFd(::openat(place.folder.get(), place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  };
  const auto move = [](const Place& what, const Place& where, unsigned how) {
    return result_of(static_cast<int>(
        ::syscall(SYS_renameat2, what.folder.get(), what.name.c_str(), where.folder.get(), where.name.c_str(), how)));
  };
  const UniqueFd moved = hold(*from);
  const UniqueFd back = exchanges ? hold(*to) : UniqueFd();
  As as{};
  As as_back{};
  int error = judge_move(*from, *to, moved, as);
  if (error == 0 && exchanges) error = judge_move(*to, *from, back, as_back);
  if (error == EAGAIN) return asked.leave_to_kernel();
  if (error == 0) error = move(*from, *to, static_cast<unsigned>(flags));
  if (error == 0 && was_led_astray(*to, as, moved)) {
    move(*to, *from, exchanges ? RENAME_EXCHANGE : RENAME_NOREPLACE);
    error = EACCES;
  }
  if (error == 0) note_repository(*to);
  asked.answer(error);
}

namespace {

/// The calls, and at which arguments they have what. Below zero: not at all.
struct Shape {
  enum class Kind { open, folder, node, symbolic_link, link, rename, rules, restriction } kind;
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
        {SYS_landlock_create_ruleset, {Kind::rules}}, {SYS_landlock_restrict_self, {Kind::restriction}},
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
      return hear_rules(asked);
    case Kind::restriction:
      return hear_restriction(asked);
  }
}

}  // namespace agentvault::sandbox
