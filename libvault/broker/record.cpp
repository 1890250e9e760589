#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/stages.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {
namespace {

template <class Work>
std::optional<Refusal> unless_it_fails(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    log::warning(error.what());
    return not_recorded();
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> record(SessionState& session, const Request& request, const Judgement& judgement) {
  audit::RequestDecided event;
  const std::string path = without_tokens(request.target.path);
  const std::string host = request.upstream.host.empty() ? "" : request.upstream.authority();
  event.request = request.number;
  if (request.token) {
    event.token = request.token->id;
    event.chain = request.token->chain;
  }
  event.credential = request.credential();
  event.host = host;
  event.method = request.head.method;
  event.path = path;
  event.decision = judgement.refusal ? audit::Decision::deny
                   : judgement.asks  ? audit::Decision::ask
                                     : audit::Decision::allow;
  event.reason = judgement.refusal ? judgement.refusal->code : judgement.reason;
  return unless_it_fails([&] { session.segment().append(event); });
}

std::optional<Refusal> commit_record(SessionState& session) {
  return unless_it_fails([&] { session.segment().commit(); });
}

Refusal not_recorded() {
  return {503, "audit_failed", "the decision could not be written to the audit log",
          "nothing was forwarded: is the disk full?"};
}

}  // namespace agentvault::broker
