#include "keys/master_key.hpp"

namespace agentvault::keys {

MasterKey MasterKey::generate(const SecretBytes& from_tpm) {
  SecretBytes mixed = random_secret(32);
  mixed.append(from_tpm.reveal());
  return MasterKey(hkdf_sha256(mixed, as_bytes("agentvault master")));
}

SecretBytes MasterKey::manifest_key() const {
  return hkdf_sha256(key_, as_bytes("agentvault manifest"));
}

SecretBytes MasterKey::counter_key_wrapping() const {
  return hkdf_sha256(key_, as_bytes("agentvault counter key"));
}

SecretBytes MasterKey::recovery_key_wrapping() const {
  return hkdf_sha256(key_, as_bytes("agentvault recovery key"));
}

SecretBytes MasterKey::credential_key(ByteView credential_id) const {
  return hkdf_sha256(key_, ByteWriter().text("agentvault credential").blob(credential_id).bytes());
}

SecretBytes MasterKey::announcement_key(ByteView session_id) const {
  return hkdf_sha256(key_, ByteWriter().text("agentvault announcement").blob(session_id).bytes());
}

}  // namespace agentvault::keys
