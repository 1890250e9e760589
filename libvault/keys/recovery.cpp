#include "keys/recovery.hpp"

#include <algorithm>
#include <chrono>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "keys/credential_box.hpp"
#include "keys/stage.hpp"

namespace agentvault::keys {
namespace {

constexpr std::string_view kMagic = "AVBACK1\n";
constexpr std::string_view kMagicOfAll = "AVBACK";
constexpr const char* kHeadLabel = "agentvault backup 1";
constexpr const char* kEntryLabel = "agentvault backup entry 1";
constexpr std::size_t kSaltSize = 16;
constexpr std::size_t kMaxFile = std::size_t{256} << 20;
constexpr std::size_t kMaxText = 1 << 20;
constexpr std::size_t kHashSize = std::tuple_size_v<Digest>;

SecretBytes stretch(const SecretBytes& passphrase, ByteView salt) {
  // Whoever has the file can try passphrases for ever: four times the cost of a PIN.
  return scrypt(passphrase, salt, ScryptCost::offline);
}

[[noreturn]] void damaged() {
  throw Error(ErrorKind::integrity, "the backup was cut short or changed", "use another copy of it; nothing was made");
}

/// Fields behind a 4-byte length, off the front.
class FieldReader {
 public:
  explicit FieldReader(ByteView bytes) : rest_(bytes) {}
  ByteView raw(std::size_t size) {
    if (rest_.size() < size) damaged();
    const ByteView out = rest_.first(size);
    rest_ = rest_.subspan(size);
    return out;
  }
  std::uint64_t u64() { return read_big_endian(raw(8)); }
  ByteView blob(std::size_t most) {
    const auto size = read_big_endian(raw(4));
    if (size > most) damaged();
    return raw(static_cast<std::size_t>(size));
  }
  std::string text() { return std::string(as_text(blob(kMaxText))); }
  bool done() const { return rest_.empty(); }

 private:
  ByteView rest_;
};

/// name | binding | secret
SecretBytes lay_out(const store::CredentialRow& row, const SecretBytes& secret) {
  SecretBytes out = SecretBytes::copy_of(
      ByteWriter().text(row.name).text(row.binding).u32(static_cast<std::uint32_t>(secret.size())).bytes());
  out.append(secret.reveal());
  return out;
}

Bytes seal_entry(const SecretBytes& key, const MasterKey& master, const store::Snapshot& snapshot,
                 const store::CredentialRow& row) {
  const SecretBytes secret = open_credential(master, snapshot.vault.id, row);
  return aead_seal(key, as_bytes(kEntryLabel), lay_out(row, secret).reveal());
}

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

void set_recovery_passphrase(const MasterKey& master, const SecretBytes& passphrase, store::StageRow& stage) {
  stage.recovery_salt = random_bytes(kSaltSize);
  wrap_recovery_key(master, stretch(passphrase, stage.recovery_salt), stage);
}

bool is_recovery_passphrase(const MasterKey& master, const SecretBytes& passphrase, const store::StageRow& stage) {
  if (stage.recovery_salt.empty()) return false;
  return constant_time_equal(stretch(passphrase, stage.recovery_salt).reveal(),
                             unwrap_recovery_key(master, stage).reveal());
}

void write_backup(const MasterKey& master, const store::Snapshot& snapshot, const std::filesystem::path& file) {
  if (snapshot.stage.recovery_salt.empty()) {
    throw Error(ErrorKind::usage, "no recovery passphrase is set", "set one with \"agentvault recovery set\"");
  }
  const SecretBytes key = unwrap_recovery_key(master, snapshot.stage);
  std::vector<Bytes> entries;
  ByteWriter head;
  head.u64(static_cast<std::uint64_t>(now())).u64(snapshot.credentials.size());
  for (const auto& row : snapshot.credentials) {
    entries.push_back(seal_entry(key, master, snapshot, row));
    head.raw(sha256(entries.back()));
  }
  head.u64(snapshot.revoked_agents.size());
  for (const auto& agent : snapshot.revoked_agents) head.text(agent);
  if (!snapshot.policies.empty()) head.u64(snapshot.policies.size());
  for (const auto& row : snapshot.policies) head.text(row.path).text(row.agent).text(row.text);
  ByteWriter out;
  out.raw(as_bytes(kMagic)).raw(snapshot.stage.recovery_salt);
  const Bytes associated = ByteWriter().text(kHeadLabel).raw(out.bytes()).bytes();
  out.blob(aead_seal(key, associated, head.bytes()));
  for (const auto& entry : entries) out.blob(entry);
  if (out.bytes().size() > kMaxFile) throw Error(ErrorKind::failed, "the vault is too large for one backup");
  std::error_code error;
  const auto status = std::filesystem::symlink_status(file, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw Error(ErrorKind::usage, file.string() + " is not a regular file", "name a file that can be replaced");
  }
  replace_file(file, out.bytes(), ".new-" + hex(random_bytes(4)));
}

Backup Backup::open(const std::filesystem::path& file, const PinSource& passphrase) {
  Backup backup;
  auto contents = read_file(file, kMaxFile);
  if (!contents) throw Error(ErrorKind::not_found, "there is no file " + file.string(), "is the path right?");
  backup.contents_ = std::move(*contents);
  const ByteView all(backup.contents_);
  const auto begin = as_text(all.first(std::min(all.size(), kMagic.size())));
  if (begin != kMagic && begin.starts_with(kMagicOfAll) && begin.ends_with('\n')) {
    throw Error(ErrorKind::failed, file.string() + " was written by a newer agentvault", "update agentvault");
  }
  if (begin != kMagic) {
    throw Error(ErrorKind::integrity,
                file.string() + " is not a backup of this agentvault, or its beginning was changed",
                "\"agentvault backup FILE\" makes one");
  }
  FieldReader reader(all.subspan(kMagic.size()));
  const ByteView salt = reader.raw(kSaltSize);
  const Bytes associated = ByteWriter().text(kHeadLabel).raw(all.first(kMagic.size() + kSaltSize)).bytes();
  const ByteView head_box = reader.blob(kMaxFile);
  backup.key_ = stretch(passphrase(), salt);
  const auto head = aead_open(backup.key_, associated, head_box);
  if (!head) {
    throw Error(ErrorKind::pin, "wrong recovery passphrase, or the backup's beginning was changed",
                "try again; nothing was made");
  }
  FieldReader fields(head->reveal());
  backup.made_ = static_cast<std::int64_t>(fields.u64());
  for (std::uint64_t left = fields.u64(); left > 0; --left) {
    const ByteView hash = fields.raw(kHashSize);
    backup.entries_.push_back(reader.blob(kMaxFile));
    const Digest actual = sha256(backup.entries_.back());
    if (!std::equal(actual.begin(), actual.end(), hash.begin())) damaged();
  }
  for (std::uint64_t left = fields.u64(); left > 0; --left) backup.revoked_agents_.push_back(fields.text());
  if (!fields.done()) {
    for (std::uint64_t left = fields.u64(); left > 0; --left) {
      std::string path = fields.text();
      std::string agent = fields.text();
      backup.policies_.push_back({std::move(path), std::move(agent), fields.text()});
    }
  }
  if (!fields.done() || !reader.done()) damaged();
  auto& agents = backup.revoked_agents_;
  if (!std::all_of(agents.begin(), agents.end(), valid_name)) damaged();
  std::sort(agents.begin(), agents.end());
  agents.erase(std::unique(agents.begin(), agents.end()), agents.end());
  return backup;
}

void Backup::each(const CredentialSink& sink) const {
  for (const ByteView entry : entries_) {
    const auto opened = aead_open(key_, as_bytes(kEntryLabel), entry);
    if (!opened) damaged();
    FieldReader fields(opened->reveal());
    NewCredential credential{fields.text(), "", SecretBytes()};
    credential.binding = fields.text();
    credential.secret = SecretBytes::copy_of(fields.blob(kMaxText));
    if (!fields.done()) damaged();
    sink(credential);
  }
}

}  // namespace agentvault::keys
