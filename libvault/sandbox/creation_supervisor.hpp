// New files in a project. Landlock lets an agent make none there; so these calls of an agent wait until this process
// has held the folder, judged the name, and made the file itself. Everything else goes on to the kernel, where Landlock
// decides.
#pragma once

#include <sys/resource.h>

#include <filesystem>
#include <functional>
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

  /// Repositories of git's that were made since.
  const std::vector<std::filesystem::path>& repositories() const { return repositories_; }

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
  enum class Entry { missing, folder, link, other, unknown };
  using Make = std::function<int(const Place&)>;  // returns 0 or an errno

  std::optional<Place> place_of(const Notification& asked, int from, std::string path) const;
  std::optional<Place> place_at(const Notification& asked, int from, int path_argument) const;
  static Entry entry_at(const Place& place);
  /// `moved`: the folder that is to be there.
  bool refuses(const Place& place, const std::filesystem::path* moved = nullptr);
  /// Whether it is this process that makes it: where nothing is yet, and on behalf of somebody who may.
  bool may_make(const Notification& asked, const Place& place);

  void open(const Notification& asked, int from, std::uint64_t path, std::uint64_t flags, std::uint64_t mode);
  void make(const Notification& asked, std::optional<Place> place, const Make& how);
  void make_folder(const Notification& asked, std::optional<Place> place, std::uint64_t mode);
  void make_node(const Notification& asked, std::optional<Place> place, std::uint64_t mode);
  void make_symbolic_link(const Notification& asked, std::optional<Place> place);
  void make_link(const Notification& asked, int from, std::uint64_t path, std::optional<Place> place,
                 std::uint64_t flags);
  void rename(const Notification& asked, std::optional<Place> from, std::optional<Place> to, std::uint64_t flags);

  bool restricts_itself(pid_t thread) const;
  void note_restriction(const Notification& asked) const;

  Policy policy_;
  rlim_t unmarked_;
  std::vector<std::filesystem::path> repositories_;
};

}  // namespace agentvault::sandbox
