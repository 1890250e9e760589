#include "broker/history.hpp"

#include "base/crypto.hpp"

namespace agentvault::broker {
namespace {

constexpr std::chrono::minutes kWindow{1};

constexpr std::size_t kShort = 128;

/// Itself, or where that is long its digest: which of the two is said first.
std::string name_of(const ByteWriter& place) {
  if (place.bytes().size() <= kShort) return "=" + std::string(as_text(place.bytes()));
  const Digest digest = sha256(place.bytes());
  return "#" + std::string(digest.begin(), digest.end());
}

std::string place(std::string_view host) {
  return name_of(ByteWriter().reserve(kShort).text("host").text(host));
}

std::string place(std::string_view credential, std::string_view method, std::string_view path) {
  return name_of(ByteWriter().reserve(kShort).text("path").text(credential).text(method).text(path));
}

}  // namespace

policy::History SessionHistory::of(std::string_view credential, std::string_view host, std::string_view method,
                                   std::string_view path, Clock::time_point now) {
  while (!denials_.empty() && now - denials_.front() > kWindow) denials_.pop_front();
  return {!places_.contains(place(host)), !places_.contains(place(credential, method, path)),
          static_cast<unsigned>(denials_.size())};
}

void SessionHistory::allowed(std::string_view credential, std::string_view host, std::string_view method,
                             std::string_view path) {
  for (auto& known : {place(host), place(credential, method, path)}) {
    if (places_.size() < kMostPlaces) places_.insert(known);
  }
}

void SessionHistory::denied(Clock::time_point now) {
  denials_.push_back(now);
  if (denials_.size() > kMostDenials) denials_.pop_front();
}

}  // namespace agentvault::broker
