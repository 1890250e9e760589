#include "broker/approvals.hpp"

#include <algorithm>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kIdSize = 4;
constexpr std::size_t kMostStanding = 1000;

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// What a standing approval is for.
std::string rule_key(const Request& request, const std::string& rule) {
  ByteWriter key;
  key.text(rule);
  for (const auto& id : request.token_ids) key.text(id);
  key.text("").text(request.credential()).text(request.head.method).text(request.upstream.authority());
  key.text(request.target.path);
  return hex(sha256(key.bytes()));
}

std::string holder_of(const Request& request) {
  const auto delegations = request.token ? request.token->delegations() : std::vector<std::string>();
  return delegations.empty() ? std::string() : delegations.front();
}

Question question_of(const Request& request, const std::string& rule, std::chrono::seconds patience) {
  Question question;
  question.id = hex(random_bytes(kIdSize));
  question.credential = request.credential();
  question.method = request.head.method;
  question.url = request.head.method == "CONNECT" ? request.upstream.authority()
                                                  : (request.upstream.tls ? "https://" : "http://") +
                                                        request.upstream.authority() + request.target.text();
  if (request.token) question.chain = request.token->chain;
  question.rule = rule;
  question.body_size = request.body.size();
  if (!request.body.empty()) question.body_sha256 = hex(sha256(as_bytes(request.body)));
  question.body_start = request.body.substr(0, Question::kShownBody);
  http::Fields fields = request.head.fields;
  http::remove_hop_by_hop(fields);
  for (const auto& field : fields.list()) {
    if (!equal_ignoring_case(field.name, "host")) question.headers.push_back(field.name + ": " + field.value);
  }
  if (request.websocket) question.headers.emplace_back("Upgrade: websocket");
  question.asked = unix_now();
  question.until = question.asked + patience.count();
  return question;
}

}  // namespace

std::optional<std::string> Approvals::ask(const Request& request, const std::string& rule,
                                          std::chrono::seconds patience, Answer answer) {
  const auto holder = holder_of(request);
  const auto own =
      std::count_if(pending_.begin(), pending_.end(), [&](const auto& entry) { return entry.second.holder == holder; });
  if (static_cast<std::size_t>(own) >= kMostPending || pending_.size() >= kMostOfAll) return std::nullopt;
  auto question = question_of(request, rule, patience);
  const std::string id = question.id;
  if (pending_.contains(id)) return std::nullopt;
  auto timer = std::make_unique<net::Timer>(reactor_);
  timer->set(patience, [this, id] { settle(id, Verdict::timed_out); });
  pending_.emplace(id, Pending{std::move(question), &request, holder, rule_key(request, rule), policy_,
                               std::move(timer), std::move(answer)});
  if (tell_) tell_(pending_.size());
  return id;
}

void Approvals::withdraw(const std::string& id) {
  pending_.erase(id);
}

std::vector<Question> Approvals::pending() const {
  std::vector<Question> questions;
  for (const auto& [id, pending] : pending_) questions.push_back(pending.question);
  return questions;
}

bool Approvals::answer(const std::string& id, bool approved, std::chrono::seconds standing) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return false;
  if (approved && standing.count() > 0 && found->second.policy == policy_) {
    const auto now = net::boot_time();
    std::erase_if(standing_, [&](const auto& entry) { return entry.second <= now; });
    if (standing_.size() < kMostStanding) standing_[found->second.rule_key] = now + standing;
  }
  settle(id, approved ? Verdict::approved : Verdict::denied);
  return true;
}

const std::string* Approvals::body_of(const std::string& id) const {
  const auto found = pending_.find(id);
  return found == pending_.end() ? nullptr : &found->second.request->body;
}

bool Approvals::covers(const Request& request, const std::string& rule) const {
  if (standing_.empty()) return false;
  const auto found = standing_.find(rule_key(request, rule));
  return found != standing_.end() && net::boot_time() < found->second;
}

void Approvals::settle(const std::string& id, Verdict verdict) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const Answer answer = std::move(found->second.answer);
  pending_.erase(found);
  answer(verdict);
}

}  // namespace agentvault::broker
