// Room for what `revoke` wants done when the database takes nothing any more (a full disk): a file of fixed size beside
// it, written when the vault is made, and from then on only overwritten in place. Like the intents in the database it
// is under no MAC: it can only take away.
#pragma once

#include <filesystem>
#include <vector>

#include "store/intent.hpp"

namespace agentvault::store {

class ReservedIntents {
 public:
  explicit ReservedIntents(std::filesystem::path file) : file_(std::move(file)) {}

  /// Makes the file where it is missing. Throws Error(failed).
  void reserve() const;
  /// Throws Error(failed) when there is no room, or no file.
  void add(const Intent& intent) const;
  /// What was added since; nothing without a file. What cannot be read is left out.
  std::vector<Intent> all() const;
  /// These are done; others stay.
  void remove(const std::vector<Intent>& done) const;

 private:
  std::filesystem::path file_;
};

}  // namespace agentvault::store
