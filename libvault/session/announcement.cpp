#include "session/announcement.hpp"

#include <stdexcept>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "session/registry.hpp"
#include "session/withdraw.hpp"

namespace agentvault::session {
namespace {

constexpr std::string_view kLabel = "agentvault announcement 1";
constexpr std::uint64_t kMostPolicies = 10'000;

}  // namespace

Bytes write_announcement(const Announcement& announcement, const SecretBytes& key) {
  ByteWriter out;
  out.text(kLabel).u64(announcement.version.first).u64(announcement.version.second);
  out.u64(announcement.policies.size());
  for (const auto& row : announcement.policies) out.text(row.path).text(row.agent).text(row.text);
  const Digest mac = hmac_sha256(key.reveal(), out.bytes());
  out.raw(mac);
  return out.bytes();
}

std::optional<Announcement> read_announcement(ByteView bytes, const SecretBytes& key) {
  if (bytes.size() < std::tuple_size_v<Digest>) return std::nullopt;
  const auto body = bytes.first(bytes.size() - std::tuple_size_v<Digest>);
  if (!constant_time_equal(hmac_sha256(key.reveal(), body), bytes.subspan(body.size()))) return std::nullopt;
  try {
    ByteReader reader(body);
    if (reader.text() != kLabel) return std::nullopt;
    Announcement announcement;
    announcement.version.first = reader.number(8);
    announcement.version.second = reader.number(8);
    const auto count = reader.number(8);
    if (count > kMostPolicies) return std::nullopt;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::string path = reader.text();
      std::string agent = reader.text();
      announcement.policies.push_back({std::move(path), std::move(agent), reader.text()});
    }
    return announcement;
  } catch (const std::out_of_range&) {
    return std::nullopt;
  }
}

std::vector<std::string> announce_policies(keys::Vault& vault, const keys::VaultPaths& paths,
                                           const std::string& except) {
  const auto& snapshot = vault.snapshot();
  const Announcement announcement{{snapshot.stage.epoch, snapshot.stage.sequence}, snapshot.policies};
  std::vector<Told> told;
  for (const auto& name : live_sessions(paths)) {
    const auto id = unhex(name);
    if (!id || name == except) continue;
    const Bytes message = write_announcement(announcement, vault.master().announcement_key(*id));
    told.push_back({name, {ControlCommand::Kind::policies, base64(message)}});
  }
  const auto result = tell(paths, told, Silent::kill);
  vault.clear_news();
  return result.killed;
}

}  // namespace agentvault::session
