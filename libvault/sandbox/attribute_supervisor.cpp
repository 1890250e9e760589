#include "sandbox/attribute_supervisor.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include <array>
#include <cerrno>
#include <climits>
#include <functional>
#include <map>
#include <optional>

#include "base/text.hpp"
#include "sandbox/file_view.hpp"
#include "sandbox/place.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;
using LastLink = Notification::LastLink;

constexpr std::size_t kMaxName = XATTR_NAME_MAX;
constexpr std::size_t kMaxValue = XATTR_SIZE_MAX;
constexpr std::uint64_t kPathFlags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
constexpr mode_t kModeBits = 07777;
constexpr mode_t kForOthersToRun = 06000;  // set-uid, set-gid

/// One call, read: the file that it is about, and what is to be done with it once that was judged.
struct Change {
  UniqueFd file;
  std::function<int(int file)> make;  // returns 0 or an errno
};
/// Nothing, with errno, for what cannot be read.
using Read = std::function<std::optional<Change>(const Notification&)>;

int result_of(int returned) {
  return returned == 0 ? 0 : errno;
}

bool is_link(int file) {
  struct stat info {};
  return ::fstat(file, &info) == 0 && S_ISLNK(info.st_mode);
}

std::optional<Change> change(UniqueFd file, std::function<int(int)> make) {
  if (!file) return std::nullopt;
  return Change{std::move(file), std::move(make)};
}

UniqueFd at_path(const Notification& asked, int folder, std::uint64_t path, LastLink last, bool may_be_empty = false) {
  const auto text = asked.text(path, PATH_MAX);
  if (!text) return UniqueFd();
  if (text->empty() && !may_be_empty) return errno = ENOENT, UniqueFd();
  return asked.file(folder, *text, last);
}

std::function<int(int)> set_mode(std::uint64_t mode) {
  return [mode = static_cast<mode_t>(mode) & kModeBits](int file) {
    struct stat info {};
    const bool is_folder = ::fstat(file, &info) == 0 && S_ISDIR(info.st_mode);
    if ((mode & kForOthersToRun) != 0 && !is_folder) return EPERM;
    return result_of(::chmod(name_of_descriptor(file).c_str(), mode));
  };
}

std::function<int(int)> set_owner(std::uint64_t user, std::uint64_t group) {
  return [=](int file) {
    return result_of(::fchownat(file, "", static_cast<uid_t>(user), static_cast<gid_t>(group), AT_EMPTY_PATH));
  };
}

/// As setxattr(2) says it.
void long_name_is_out_of_range() {
  if (errno == ENAMETOOLONG) errno = ERANGE;
}

std::optional<Change> attribute_set(const Notification& asked, UniqueFd file) {
  const auto name = asked.text(asked.argument(1), kMaxName);
  const auto size = asked.argument(3);
  if (!name) return long_name_is_out_of_range(), std::nullopt;
  if (size > kMaxValue) return errno = E2BIG, std::nullopt;
  std::string value(size, '\0');
  if (size > 0 && !asked.copy(asked.argument(2), value.data(), size)) return errno = EFAULT, std::nullopt;
  return change(std::move(file), [name = *name, value, flags = asked.descriptor(4)](int held) {
    if (is_link(held)) return EPERM;  // links have none that an unprivileged process may change
    return result_of(::setxattr(name_of_descriptor(held).c_str(), name.c_str(), value.data(), value.size(), flags));
  });
}

std::optional<Change> attribute_removed(const Notification& asked, UniqueFd file) {
  const auto name = asked.text(asked.argument(1), kMaxName);
  if (!name) return long_name_is_out_of_range(), std::nullopt;
  return change(std::move(file), [name = *name](int held) {
    if (is_link(held)) return EPERM;
    return result_of(::removexattr(name_of_descriptor(held).c_str(), name.c_str()));
  });
}

using Times = std::array<timespec, 2>;

/// Nothing said: now.
std::function<int(int)> set_times(std::optional<Times> times) {
  return [times](int file) {
    const timespec* given = times ? times->data() : nullptr;
    if (is_link(file)) return result_of(::utimensat(file, "", given, AT_EMPTY_PATH));
    return result_of(::utimensat(AT_FDCWD, name_of_descriptor(file).c_str(), given, 0));
  };
}

/// `Raw` as the call takes them. False, with errno, when they cannot be read.
template <class Raw, class Convert>
bool read_times(const Notification& asked, std::uint64_t address, std::optional<Times>& out, const Convert& convert) {
  if (address == 0) return true;
  Raw raw;
  if (!asked.copy(address, &raw, sizeof raw)) return errno = EFAULT, false;
  out = convert(raw);
  return true;
}

std::optional<Change> times_in_microseconds(const Notification& asked, UniqueFd file, std::uint64_t address) {
  using Raw = std::array<timeval, 2>;
  constexpr long second = 1'000'000;
  std::optional<Times> times;
  bool valid = true;
  const auto convert = [&](const Raw& raw) {
    for (const auto& time : raw) valid = valid && time.tv_usec >= 0 && time.tv_usec < second;
    return Times{{{raw[0].tv_sec, raw[0].tv_usec * 1000}, {raw[1].tv_sec, raw[1].tv_usec * 1000}}};
  };
  if (!read_times<Raw>(asked, address, times, convert)) return std::nullopt;
  if (!valid) return errno = EINVAL, std::nullopt;
  return change(std::move(file), set_times(times));
}

LastLink last_link(std::uint64_t flags) {
  return (flags & AT_SYMLINK_NOFOLLOW) != 0 ? LastLink::hold : LastLink::follow;
}

std::optional<Change> times_in_nanoseconds(const Notification& asked) {
  const auto flags = asked.argument(3);
  const bool by_descriptor = asked.argument(1) == 0;
  if ((flags & ~kPathFlags) != 0 || (by_descriptor && flags != 0)) return errno = EINVAL, std::nullopt;
  if (by_descriptor && asked.descriptor(0) == AT_FDCWD) return errno = EFAULT, std::nullopt;
  auto file = by_descriptor ? asked.file(asked.descriptor(0))
                            : at_path(asked, asked.descriptor(0), asked.argument(1), last_link(flags),
                                      (flags & AT_EMPTY_PATH) != 0);
  std::optional<Times> times;
  const auto as_it_is = [](const Times& raw) { return raw; };
  if (!file || !read_times<Times>(asked, asked.argument(2), times, as_it_is)) return std::nullopt;
  return change(std::move(file), set_times(times));
}

#if defined(SYS_utime)
std::optional<Change> times_in_seconds(const Notification& asked) {
  auto file = at_path(asked, AT_FDCWD, asked.argument(0), LastLink::follow);
  std::optional<Times> times;
  const auto convert = [](const utimbuf& raw) { return Times{{{raw.actime, 0}, {raw.modtime, 0}}}; };
  if (!file || !read_times<utimbuf>(asked, asked.argument(1), times, convert)) return std::nullopt;
  return change(std::move(file), set_times(times));
}
#endif

UniqueFd first_path(const Notification& asked, LastLink last) {
  return at_path(asked, AT_FDCWD, asked.argument(0), last);
}
UniqueFd first_descriptor(const Notification& asked) {
  return asked.file(asked.descriptor(0));
}

/// How each call is read. Newer spellings of the same (fchmodat2, setxattrat, file_setattr) are answered as unknown by
/// the filter: programs then use these.
const std::map<int, Read>& readers() {
  static const std::map<int, Read> all {
#if defined(SYS_chmod)
    {SYS_chmod,
     [](const auto& asked) { return change(first_path(asked, LastLink::follow), set_mode(asked.argument(1))); }},
        {SYS_chown,
         [](const auto& asked) {
           return change(first_path(asked, LastLink::follow), set_owner(asked.argument(1), asked.argument(2)));
         }},
        {SYS_lchown,
         [](const auto& asked) {
           return change(first_path(asked, LastLink::hold), set_owner(asked.argument(1), asked.argument(2)));
         }},
        {SYS_utime, times_in_seconds},
        {SYS_utimes,
         [](const auto& asked) {
           return times_in_microseconds(asked, first_path(asked, LastLink::follow), asked.argument(1));
         }},
        {SYS_futimesat,
         [](const auto& asked) {
           auto file = asked.argument(1) == 0
                           ? first_descriptor(asked)
                           : at_path(asked, asked.descriptor(0), asked.argument(1), LastLink::follow);
           return times_in_microseconds(asked, std::move(file), asked.argument(2));
         }},
#endif
        {SYS_fchmod, [](const auto& asked) { return change(first_descriptor(asked), set_mode(asked.argument(1))); }},
        {SYS_fchmodat,
         [](const auto& asked) {
           return change(at_path(asked, asked.descriptor(0), asked.argument(1), LastLink::follow),
                         set_mode(asked.argument(2)));
         }},
        {SYS_fchown,
         [](const auto& asked) {
           return change(first_descriptor(asked), set_owner(asked.argument(1), asked.argument(2)));
         }},
        {SYS_fchownat,
         [](const auto& asked) {
           const auto flags = asked.argument(4);
           if ((flags & ~kPathFlags) != 0) return errno = EINVAL, std::optional<Change>();
           auto file =
               at_path(asked, asked.descriptor(0), asked.argument(1), last_link(flags), (flags & AT_EMPTY_PATH) != 0);
           return change(std::move(file), set_owner(asked.argument(2), asked.argument(3)));
         }},
        {SYS_setxattr, [](const auto& asked) { return attribute_set(asked, first_path(asked, LastLink::follow)); }},
        {SYS_lsetxattr, [](const auto& asked) { return attribute_set(asked, first_path(asked, LastLink::hold)); }},
        {SYS_fsetxattr, [](const auto& asked) { return attribute_set(asked, first_descriptor(asked)); }},
        {SYS_removexattr,
         [](const auto& asked) { return attribute_removed(asked, first_path(asked, LastLink::follow)); }},
        {SYS_lremovexattr,
         [](const auto& asked) { return attribute_removed(asked, first_path(asked, LastLink::hold)); }},
        {SYS_fremovexattr, [](const auto& asked) { return attribute_removed(asked, first_descriptor(asked)); }},
        {SYS_utimensat, times_in_nanoseconds},
  };
  return all;
}

}  // namespace

const std::vector<int>& AttributeSupervisor::calls() {
  static const std::vector<int> numbers = [] {
    std::vector<int> out;
    for (const auto& [number, read] : readers()) out.push_back(number);
    return out;
  }();
  return numbers;
}

bool AttributeSupervisor::may_change(const UniqueFd& file) const {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || contains(policy_.kept, info)) return false;
  if (!policy_.only_writable) return true;
  if (info.st_nlink == 0) return true;
  std::error_code unknown;
  const fs::path place = fs::read_symlink(name_of_descriptor(file.get()), unknown);
  if (unknown || !place.is_absolute()) return false;
  return std::any_of(policy_.writable.begin(), policy_.writable.end(),
                     [&](const auto& folder) { return is_within(place, folder); });
}

int AttributeSupervisor::change(const Notification& asked) const {
  const auto reader = readers().find(asked.call());
  if (reader == readers().end()) return EPERM;
  errno = EACCES;
  const auto read = reader->second(asked);
  if (!read) return errno;
  if (!asked.still_waits()) return EINTR;
  return may_change(read->file) ? read->make(read->file.get()) : EPERM;
}

void AttributeSupervisor::answer(const Notification& asked) const {
  asked.answer(change(asked));
}

}  // namespace agentvault::sandbox
