#include "keys/credential_box.hpp"

#include "base/error.hpp"

namespace agentvault::keys {
namespace {

Bytes associated_data(const Bytes& vault_id, const store::CredentialRow& row) {
  return ByteWriter()
      .text("agentvault credential 1")
      .blob(vault_id)
      .blob(row.id)
      .text(row.name)
      .u64(row.version)
      .text(row.binding)
      .bytes();
}

}  // namespace

void seal_credential(const MasterKey& master, const Bytes& vault_id, store::CredentialRow& row,
                     const SecretBytes& secret) {
  row.secret = aead_seal(master.credential_key(row.id), associated_data(vault_id, row), secret.reveal());
}

SecretBytes open_credential(const MasterKey& master, const Bytes& vault_id, const store::CredentialRow& row) {
  auto secret = aead_open(master.credential_key(row.id), associated_data(vault_id, row), row.secret);
  if (!secret) {
    throw Error(ErrorKind::integrity, "the credential " + row.name + " does not decrypt",
                "put a copy of vault.db back that you trust");
  }
  return std::move(*secret);
}

}  // namespace agentvault::keys
