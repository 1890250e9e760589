// Which file, whatever it is called.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <vector>

namespace agentvault::sandbox {

struct FileIdentity {
  dev_t device;
  ino_t number;

  static FileIdentity of(const struct stat& info) { return {info.st_dev, info.st_ino}; }
  bool operator==(const FileIdentity&) const = default;
};

inline bool contains(const std::vector<FileIdentity>& list, const struct stat& info) {
  return std::find(list.begin(), list.end(), FileIdentity::of(info)) != list.end();
}

}  // namespace agentvault::sandbox
