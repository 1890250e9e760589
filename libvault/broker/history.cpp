#include "broker/history.hpp"

#include "base/crypto.hpp"

namespace agentvault::broker {
namespace {

constexpr std::chrono::minutes kWindow{1};

/// A digest, so that long paths cost no more than short ones.
std::string place(std::string_view kind, std::string_view credential, std::string_view rest) {
  const Digest digest = sha256(ByteWriter().text(kind).text(credential).text(rest).bytes());
  return {digest.begin(), digest.end()};
}

}  // namespace

policy::History SessionHistory::of(std::string_view credential, std::string_view host, std::string_view path,
                                   Clock::time_point now) {
  while (!denials_.empty() && now - denials_.front() > kWindow) denials_.pop_front();
  return {!places_.contains(place("host", "", host)), !places_.contains(place("path", credential, path)),
          static_cast<unsigned>(denials_.size())};
}

void SessionHistory::allowed(std::string_view credential, std::string_view host, std::string_view path) {
  for (auto& known : {place("host", "", host), place("path", credential, path)}) {
    if (places_.size() < kMostPlaces) places_.insert(known);
  }
}

void SessionHistory::denied(Clock::time_point now) {
  denials_.push_back(now);
  if (denials_.size() > kMostDenials) denials_.pop_front();
}

}  // namespace agentvault::broker
