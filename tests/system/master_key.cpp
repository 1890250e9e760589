// For one test only: prints the master key of a vault on the embedded TPM, so that the test can look for it in a
// broker's memory. Links the rooms as a program could that runs as the vault's owner; no part of the product.
#include <cstdio>

#include "keys/vault.hpp"

int main(int argc, char** argv) {
  using namespace agentvault;
  if (argc != 2) return 2;
  const auto vault = keys::Vault::open({argv[1]}, keys::Access::read, std::nullopt, []() -> SecretBytes { return {}; });
  const auto key = vault.master().key().reveal();
  return std::fwrite(key.data(), 1, key.size(), stdout) == key.size() ? 0 : 1;
}
