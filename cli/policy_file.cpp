#include "policy_file.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "session/governance.hpp"

namespace agentvault::cli {

namespace fs = std::filesystem;

fs::path current_folder() {
  std::error_code error;
  auto folder = fs::current_path(error);
  if (error) throw Error(ErrorKind::failed, "this folder is gone", "change to another one");
  return folder;
}

fs::path policy_file_path(const std::string& name) {
  if (name.empty()) {
    auto nearest = session::nearest_policy_file(current_folder());
    if (!nearest.empty()) return nearest;
    throw Error(ErrorKind::not_found, std::string("there is no ") + session::kPolicyFile + " here or above",
                "write one (\"man agentvault-policy\"), or name a file");
  }
  std::error_code error;
  const fs::path given = current_folder() / name;
  const auto folder = fs::canonical(given.parent_path(), error);
  if (error) throw Error(ErrorKind::not_found, "there is no file " + printable(name), "is the path right?");
  return folder / given.filename();
}

PolicyFile read_policy_file(const std::string& name) {
  PolicyFile file{policy_file_path(name), "", {}};
  std::error_code error;
  if (fs::exists(file.path, error) && !fs::is_regular_file(file.path, error)) {
    throw Error(ErrorKind::usage, printable(file.path.string()) + " is no regular file", "name the file");
  }
  const auto contents = read_file(file.path, policy::kMaxDocument);
  if (!contents)
    throw Error(ErrorKind::not_found, "there is no file " + printable(file.path.string()), "is the path right?");
  file.text = std::string(as_text(*contents));
  file.document = policy::parse_document(file.text, file.path.filename().string());
  return file;
}

}  // namespace agentvault::cli
