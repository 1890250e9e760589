#include "budget/ledger.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/saturating.hpp"

namespace agentvault::budget {
namespace {

constexpr std::string_view kLabel = "agentvault budget 1";
constexpr std::size_t kSlotSize = 64 * 1024;
constexpr std::size_t kUsualSlot = 512;
constexpr std::size_t kMacSize = std::tuple_size_v<Digest>;
constexpr std::uint64_t kMinute = 60;
constexpr std::uint64_t kDay = 86'400;
constexpr std::uint64_t kMostDaysAhead = 2;  // what a clock may be wrong without anybody having erred
constexpr std::chrono::seconds kSyncEvery{1};
constexpr int kLockTries = 200;  // of a millisecond each: a change takes a hundredth of that

bool over(const std::optional<std::uint64_t>& limit, std::uint64_t used, std::uint64_t more) {
  return limit && saturating_sum(used, more) > *limit;
}

}  // namespace

/// The file's lock, for one change.
class Ledger::Locked {
 public:
  explicit Locked(int fd) : fd_(fd) {
    for (int tries = 0;; ++tries) {
      if (set(F_WRLCK)) return;
      if (errno != EAGAIN && errno != EACCES && errno != EINTR) throw_errno("lock the budget");
      if (tries == kLockTries) {
        throw Error(ErrorKind::failed, "the budget is locked by another process",
                    "is a session of this agent stopped?");
      }
      ::poll(nullptr, 0, 1);
    }
  }
  ~Locked() { set(F_UNLCK); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  bool set(short kind) const {
    struct flock lock {};
    lock.l_type = kind;
    lock.l_whence = SEEK_SET;
    return ::fcntl(fd_, F_OFD_SETLK, &lock) == 0;
  }
  int fd_;
};

Ledger::Ledger(const std::filesystem::path& file, std::string agent, SecretBytes key)
    : agent_(std::move(agent)), key_(std::move(key)) {
  make_private_directory(file.parent_path());
  fd_.reset(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_) throw_errno("open the budget " + file.string());
  sync_directory(file.parent_path());
  key_.hide();
}

/// A slot as it was written. `key`: null when its MAC is not looked at.
std::optional<Ledger::State> Ledger::parse_slot(ByteView slot, const SecretBytes* key, const std::string& agent) try {
  ByteReader outer(slot);
  const auto size = static_cast<std::size_t>(outer.number(4));
  const ByteView covered = ByteReader(slot).raw(4 + size);
  outer.raw(size);
  const ByteView mac = outer.raw(kMacSize);
  if (key != nullptr && !constant_time_equal(hmac_sha256(key->reveal(), covered), mac)) return std::nullopt;
  ByteReader reader(covered.subspan(4));
  if (reader.text() != kLabel || reader.text() != agent) return std::nullopt;
  State state;
  state.sequence = reader.number(8);
  for (auto left = reader.number(8); left > 0; --left) {
    const auto scope = reader.text();
    auto& account = state.accounts[scope];
    for (auto* field : {&account.minute_began, &account.minute_requests, &account.day, &account.day_requests,
                        &account.day_tokens, &account.day_microusd}) {
      *field = reader.number(8);
    }
  }
  return state;
} catch (const std::out_of_range&) {
  return std::nullopt;
}

/// `slots`: null, or what each of them holds, where it is one.
Ledger::State Ledger::read_newest(int fd, const SecretBytes* key, const std::string& agent, Slots* slots) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw_errno("look at the budget");
  if (info.st_size == 0) return {};
  std::optional<State> newest;
  Bytes bytes(kSlotSize);
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(slot * kSlotSize));
    if (got < 0) throw_errno("read the budget");
    const ByteView slot_bytes = ByteView(bytes).first(static_cast<std::size_t>(got));
    auto state = parse_slot(slot_bytes, key, agent);
    if (state && slots != nullptr) {
      const auto size = sizeof(std::uint32_t) + ByteReader(slot_bytes).number(sizeof(std::uint32_t)) + kMacSize;
      const auto used = slot_bytes.first(size);
      (*slots)[slot].assign(used.begin(), used.end());
    }
    if (state && (!newest || state->sequence > newest->sequence)) newest = std::move(state);
  }
  if (newest) return *newest;
  throw Error(ErrorKind::integrity, "the budget of " + agent + " is damaged, or from before the vault's keys changed",
              "\"agentvault budget reset --agent " + agent + "\": it begins anew");
}

bool Ledger::is_as_known() const {
  Bytes found;
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    if (slots_[slot].empty()) return false;
    found.resize(slots_[slot].size());
    const ssize_t got = ::pread(fd_.get(), found.data(), found.size(), static_cast<off_t>(slot * kSlotSize));
    if (got != static_cast<ssize_t>(found.size()) || found != slots_[slot]) return false;
  }
  return true;
}

Ledger::State& Ledger::read() {
  if (is_as_known()) return state_;
  slots_ = {};
  return state_ = read_newest(fd_.get(), &key_, agent_, &slots_);
}

void Ledger::write() {
  const auto place = ++state_.sequence % kSlots;
  slots_[place].clear();  // whatever fails from here on: what is in memory is not what the file says
  ByteWriter fields;
  fields.reserve(kUsualSlot).text(kLabel).text(agent_).u64(state_.sequence).u64(state_.accounts.size());
  for (const auto& [scope, account] : state_.accounts) {
    fields.text(scope).u64(account.minute_began).u64(account.minute_requests);
    fields.u64(account.day).u64(account.day_requests).u64(account.day_tokens).u64(account.day_microusd);
  }
  ByteWriter slot;
  slot.reserve(kUsualSlot).blob(fields.bytes());
  const Digest mac = hmac_sha256(key_.reveal(), slot.bytes());  // no key stays with OpenSSL
  slot.raw(mac);
  if (slot.bytes().size() > kSlotSize) throw Error(ErrorKind::failed, "the budget has too many accounts");
  const ssize_t written =
      ::pwrite(fd_.get(), slot.bytes().data(), slot.bytes().size(), static_cast<off_t>(place * kSlotSize));
  if (written != static_cast<ssize_t>(slot.bytes().size())) throw_errno("write the budget");
  slots_[place] = slot.bytes();
  // What a power cut may take back: about a second. For each request it would cost as long as the disk takes.
  const auto now = std::chrono::steady_clock::now();
  if (now - synced_ < kSyncEvery) return;
  if (::fdatasync(fd_.get()) != 0) throw_errno("write the budget");
  synced_ = now;
}

/// A clock that was set back opens no new window. What was counted under one that ran days ahead counts for today.
void Ledger::turn_over(Account& account, std::uint64_t seconds) const {
  account.minute_began = std::min(account.minute_began, seconds);
  if (account.day > seconds / kDay + kMostDaysAhead) {
    log::warning("the budget of " + agent_ + " was counted under a wrong clock (" +
                 std::to_string(account.day - seconds / kDay) +
                 " days ahead): what was used then counts for today; \"agentvault budget reset\" begins anew");
    account.day = seconds / kDay;
  }
  if (seconds >= account.minute_began + kMinute) {
    account.minute_began = seconds;
    account.minute_requests = 0;
  }
  const std::uint64_t day = seconds / kDay;
  if (day <= account.day) return;
  account.day = day;
  account.day_requests = account.day_tokens = account.day_microusd = 0;
}

std::optional<Exceeded> Ledger::judge(const Account& account, const policy::BudgetTerms& terms, const Usage& usage,
                                      std::uint64_t seconds) {
  const auto minute_left =
      std::chrono::seconds(account.minute_began + kMinute - std::min(seconds, account.minute_began + kMinute));
  const auto day_left =
      std::chrono::seconds((account.day + 1) * kDay - std::min(seconds, (account.day + 1) * kDay - 1));
  const auto exceeded = [](const policy::BudgetTerms& limit, bool alone, std::chrono::seconds left) {
    return Exceeded{describe(limit), alone ? std::chrono::seconds(0) : std::max(left, std::chrono::seconds(1))};
  };
  policy::BudgetTerms limit;
  if (over(terms.requests_per_minute, account.minute_requests, usage.requests)) {
    limit.requests_per_minute = terms.requests_per_minute;
    return exceeded(limit, over(terms.requests_per_minute, 0, usage.requests), minute_left);
  }
  if (over(terms.requests_per_day, account.day_requests, usage.requests)) {
    limit.requests_per_day = terms.requests_per_day;
    return exceeded(limit, over(terms.requests_per_day, 0, usage.requests), day_left);
  }
  if (over(terms.tokens_per_day, account.day_tokens, usage.tokens)) {
    limit.tokens_per_day = terms.tokens_per_day;
    return exceeded(limit, over(terms.tokens_per_day, 0, usage.tokens), day_left);
  }
  if (over(terms.microusd_per_day, account.day_microusd, usage.microusd)) {
    limit.microusd_per_day = terms.microusd_per_day;
    return exceeded(limit, over(terms.microusd_per_day, 0, usage.microusd), day_left);
  }
  return std::nullopt;
}

std::variant<Reservation, Exceeded> Ledger::reserve(const std::vector<Scope>& scopes, const Usage& usage,
                                                    std::chrono::system_clock::time_point now) {
  const auto seconds = static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count()));
  const Locked locked(fd_.get());
  State& state = read();
  Reservation reservation{{}, 0, usage};
  // All are judged before one is changed.
  for (const auto& scope : scopes) {
    auto& account = state.accounts[scope.name];
    turn_over(account, seconds);
    if (auto exceeded = judge(account, scope.terms, usage, seconds)) return *exceeded;
  }
  for (const auto& scope : scopes) {
    auto& account = state.accounts[scope.name];
    account.minute_requests = saturating_sum(account.minute_requests, usage.requests);
    account.day_requests = saturating_sum(account.day_requests, usage.requests);
    account.day_tokens = saturating_sum(account.day_tokens, usage.tokens);
    account.day_microusd = saturating_sum(account.day_microusd, usage.microusd);
    reservation.scopes.push_back(scope.name);
    reservation.day = account.day;
  }
  write();
  return reservation;
}

void Ledger::settle(const Reservation& reservation, const Usage& used) {
  const auto& reserved = reservation.usage;
  if (used.tokens == reserved.tokens && used.microusd == reserved.microusd) return;
  const Locked locked(fd_.get());
  State& state = read();
  for (const auto& scope : reservation.scopes) {
    auto& account = state.accounts[scope];
    if (account.day != reservation.day) continue;  // the day it was reserved on is over
    const auto replaced = [](std::uint64_t value, std::uint64_t old, std::uint64_t fresh) {
      return saturating_sum(value - std::min(value, old), fresh);
    };
    account.day_tokens = replaced(account.day_tokens, reserved.tokens, used.tokens);
    account.day_microusd = replaced(account.day_microusd, reserved.microusd, used.microusd);
  }
  write();
}

std::map<std::string, Ledger::Account> Ledger::look(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return {};
  if (!fd) throw_errno("open the budget " + file.string());
  return read_newest(fd.get(), nullptr, file.filename().string()).accounts;
}

bool Ledger::reset(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return false;
  if (!fd) throw_errno("open the budget " + file.string());
  const Locked locked(fd.get());
  if (::ftruncate(fd.get(), 0) != 0 || ::fdatasync(fd.get()) != 0) throw_errno("reset the budget " + file.string());
  return true;
}

}  // namespace agentvault::budget
