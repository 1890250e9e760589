// Modes, owners, ACLs, extended attributes and times of files. Landlock does not cover the calls that change them, and
// a descriptor from outside reaches past read-only mounts; so these calls of an agent wait until this process has held
// the file, judged it, and made the change itself.
#pragma once

#include <filesystem>
#include <vector>

#include "sandbox/file_identity.hpp"
#include "sandbox/notification.hpp"

namespace agentvault::sandbox {

struct AttributePolicy {
  /// Without mounts: only what lies in these may be changed. Files without a name are nobody else's.
  bool only_writable = false;
  std::vector<std::filesystem::path> writable;
  /// Never these.
  std::vector<FileIdentity> kept;
};

class AttributeSupervisor {
 public:
  explicit AttributeSupervisor(AttributePolicy policy) : policy_(std::move(policy)) {}

  /// The numbers of the calls that it answers.
  static const std::vector<int>& calls();
  void answer(const Notification& asked) const;

 private:
  int change(const Notification& asked) const;
  bool may_change(const UniqueFd& file) const;

  AttributePolicy policy_;
};

}  // namespace agentvault::sandbox
