// Requests that wait for a person. Each is bound to the complete request: it lies here in memory, and what is approved
// is what goes out. A wider approval is a rule of its own, for one chain of tokens, credential, method, host and path.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "broker/request.hpp"
#include "net/reactor.hpp"

namespace agentvault::broker {

/// What is asked. Everything in it was chosen by the agent but id, rule and times: it is escaped where it is shown.
struct Question {
  std::string id;
  std::string credential;
  std::string method;
  std::string url;  // https://host/path?query
  std::vector<std::string> chain;
  std::string rule;
  std::uint64_t body_size = 0;
  std::string body_sha256;
  std::string body_start;            // at most kShownBody bytes of it
  std::vector<std::string> headers;  // "name: value", as they will be forwarded
  std::int64_t asked = 0;            // Unix seconds
  std::int64_t until = 0;            // then the answer is no

  static constexpr std::size_t kShownBody = 2048;
  static constexpr std::size_t kMostShown = 8192;  // of address and head: longer ones are not asked about
};

class Approvals {
 public:
  enum class Verdict { approved, denied, timed_out };
  using Answer = std::function<void(Verdict)>;
  /// Of one sub-agent with all that it has handed on, or of the session; and of all together.
  static constexpr std::size_t kMostPending = 64;
  static constexpr std::size_t kMostOfAll = 256;

  explicit Approvals(net::Reactor& reactor) : reactor_(reactor) {}
  Approvals(const Approvals&) = delete;
  Approvals& operator=(const Approvals&) = delete;

  /// The id; nothing when too many wait. `answer` comes from the reactor, once, unless withdraw() was called before.
  std::optional<std::string> ask(const Request& request, const std::string& rule, std::chrono::seconds patience,
                                 Answer answer);
  void withdraw(const std::string& id);
  std::vector<Question> pending() const;
  /// All of a waiting request's body; null when nothing of that id waits.
  const std::string* body_of(const std::string& id) const;
  /// Called whenever another one waits, with how many do.
  void on_question(std::function<void(std::size_t)> tell) { tell_ = std::move(tell); }

  /// False: nothing of that id waits. `standing`: requests like it that the same rule asks about pass without being
  /// asked for so long, or until the policy changes.
  bool answer(const std::string& id, bool approved, std::chrono::seconds standing);
  /// Whether a standing approval covers the request.
  bool covers(const Request& request, const std::string& rule) const;
  /// The policy is another one: what was approved for longer, or is asked, was so under the old one.
  void forget_standing() {
    standing_.clear();
    ++policy_;
  }

 private:
  struct Pending {
    Question question;
    const Request* request;  // whose owner withdraws it before it goes
    std::string holder;
    std::string rule_key;
    std::uint64_t policy;
    std::unique_ptr<net::Timer> timer;
    Answer answer;
  };
  void settle(const std::string& id, Verdict verdict);

  net::Reactor& reactor_;
  std::map<std::string, Pending> pending_;
  std::map<std::string, net::BootTime> standing_;  // until when
  std::uint64_t policy_ = 0;                       // counts their changes
  std::function<void(std::size_t)> tell_;
};

}  // namespace agentvault::broker
