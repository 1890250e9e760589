// New files in a project. Landlock lets an agent make none there; so these calls of an agent wait until this process
// has held the folder, judged the name, and made the file itself. Everything else goes on to the kernel, where Landlock
// decides.
#pragma once

#include <sys/resource.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "sandbox/notification.hpp"
#include "sandbox/reserved_names.hpp"

namespace agentvault::sandbox {

class CreationSupervisor {
 public:
  struct Policy {
    std::vector<std::filesystem::path> folders;  // in which Landlock lets nothing be made
    ReservedNames names;
    /// Is told of each path that was missing and was not made, and of the program that would obey it.
    std::function<void(const std::filesystem::path&, std::string_view program)> on_refusal;
  };
  explicit CreationSupervisor(Policy policy);

  /// The numbers of the calls that it answers. Of open() and openat() those with O_CREAT.
  static const std::vector<int>& calls();
  void answer(const Notification& asked);

  /// Repositories of git's that were made since, where they are now; at most kMostRepositories.
  std::vector<std::filesystem::path> repositories() const;
  static constexpr std::size_t kMostRepositories = 64;

 private:
  /// Where a path's last name is looked up. `path` names the folder.
  struct Place {
    UniqueFd folder;
    std::filesystem::path path;
    std::string name;
    bool must_be_folder = false;  // a slash stood behind it
    bool supervised = false;

    std::filesystem::path whole() const { return path / name; }
  };
  enum class Entry { missing, folder, file, link, other, unknown };
  /// What is to be there.
  enum class As { file, link, folder_with_contents };
  using Make = std::function<int(const Place&)>;  // returns 0 or an errno

  std::optional<Place> place_of(const Notification& asked, int from, std::string path) const;
  std::optional<Place> place_at(const Notification& asked, int from, int path_argument) const;
  static Entry entry_at(const Place& place);
  /// `moved`: the folder with contents.
  std::optional<std::string_view> obeyed(const std::filesystem::path& path, As as, const UniqueFd& moved) const;
  bool refuses(const Place& place, As as = As::file, const UniqueFd& moved = UniqueFd());
  /// Whether another session has moved the folder meanwhile, so that the new file is one that is obeyed.
  bool was_led_astray(const Place& place, As as, const UniqueFd& moved = UniqueFd()) const;
  void note_repository(const Place& place);
  /// Whether this process makes it, on behalf of somebody who may.
  bool is_ours(const Notification& asked, const Place& place) const;

  void open(const Notification& asked, int from, std::uint64_t path, std::uint64_t flags, std::uint64_t mode);
  /// 0: `file` is open; or an errno. EAGAIN: what is there is none to be opened from here.
  int open_at(const Place& place, int flags, mode_t mode, UniqueFd& file, bool& made);
  void make(const Notification& asked, std::optional<Place> place, As as, const Make& how);
  void make_folder(const Notification& asked, std::optional<Place> place, std::uint64_t mode);
  void make_node(const Notification& asked, std::optional<Place> place, std::uint64_t mode);
  void make_symbolic_link(const Notification& asked, std::optional<Place> place);
  void make_link(const Notification& asked, int from, std::uint64_t path, std::optional<Place> place,
                 std::uint64_t flags);
  void rename(const Notification& asked, std::optional<Place> from, std::optional<Place> to, std::uint64_t flags);
  /// Whether what lies at `from` may be at `to`: 0, or an errno. EAGAIN: it cannot be told.
  int judge_move(const Place& from, const Place& to, const UniqueFd& moved, As& as);

  bool restricts_itself(pid_t thread) const;
  bool mark(const Notification& asked) const;
  void hear_rules(const Notification& asked);
  void hear_restriction(const Notification& asked);

  Policy policy_;
  rlim_t unmarked_;
  std::set<pid_t> with_harmless_rules_;
  std::vector<UniqueFd> repositories_;  // the folders that they are in
};

}  // namespace agentvault::sandbox
