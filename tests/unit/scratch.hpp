// A temporary directory that goes with the test, and the outside test data.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "agentvault-unit-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Test data that others wrote lies beside the project; a test that needs it says so loudly where it is absent.
inline std::filesystem::path shared_vectors() {
  return std::filesystem::path(AGENTVAULT_SOURCE_DIR).parent_path() / "shared/vectors";
}
