#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/stages.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {

std::optional<Refusal> record(SessionState& session, const Request& request, const Judgement& judgement) {
  audit::RequestDecided event;
  event.request = request.number;
  if (request.token) {
    event.token = request.token->id;
    event.chain = request.token->chain;
  }
  event.credential = request.credential();
  if (!request.upstream.host.empty()) event.host = request.upstream.authority();
  event.method = request.head.method;
  event.path = without_tokens(request.target.path);
  event.decision = judgement.refusal ? audit::Decision::deny
                   : judgement.asks  ? audit::Decision::ask
                                     : audit::Decision::allow;
  event.reason = judgement.refusal ? judgement.refusal->code : judgement.reason;
  try {
    session.segment().write(event);
  } catch (const Error& error) {
    log::warning(error.what());
    return Refusal{503, "audit_failed", "the decision could not be written to the audit log",
                   "nothing was forwarded: is the disk full?"};
  }
  return std::nullopt;
}

}  // namespace agentvault::broker
