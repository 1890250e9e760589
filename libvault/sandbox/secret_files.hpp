// Files of a project that hold keys, by their names, and by what is in them.
#pragma once

#include <filesystem>
#include <string>

namespace agentvault::sandbox {

/// By name alone: .env and its variants, key stores, service accounts.
bool is_named_like_keys(const std::string& name);

/// Names of which only some hold keys: certificates and keys in PEM, registries' settings.
bool may_hold_keys(const std::string& name);
/// What is in it says so: a private key, a registry's token. False for everything but a regular file.
bool holds_keys(const std::filesystem::path& file);

/// A regular file of at most `most` bytes, or its beginning; "" for every other kind, which could block.
std::string beginning_of(const std::filesystem::path& file, std::size_t most);

}  // namespace agentvault::sandbox
