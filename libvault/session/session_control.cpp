#include "session/session_control.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace agentvault::session {

SessionControl::SessionControl(net::Reactor& reactor, int listening_socket, SessionStatus status)
    : reactor_(reactor),
      status_(std::move(status)),
      server_(reactor, listening_socket,
              {[this] { return current_status(); }, [this] { stop(); },
               [this](const std::string& id) { return revoke_token(id); },
               [this](const std::string& credential) { withdraw(credential); }}) {}

void SessionControl::begin(broker::SessionState& state, broker::Broker& broker) {
  state_ = &state;
  broker_ = &broker;
  for (const auto& credential : withdrawn_early_) withdraw(credential);
}

SessionStatus SessionControl::current_status() {
  if (state_ != nullptr) status_.requests = state_->requests();
  return status_;
}

void SessionControl::stop() {
  stopped_ = true;
  if (state_ == nullptr) return reactor_.stop();
  state_->withdrawals().stop();
  state_->lease().end();
  enforce("everything");
}

bool SessionControl::revoke_token(const std::string& id) {
  if (state_ == nullptr) return false;  // it has minted none yet
  // Delegations are made offline: any may be of a token of this session.
  const bool delegation = id.size() == 2 * token::kDelegationIdSize;
  if (!delegation && !state_->has_minted(id)) return false;
  state_->withdrawals().revoke_token(id);
  enforce("token " + id);
  return true;
}

void SessionControl::withdraw(const std::string& credential) {
  // The opener may have read the vault before the credential was taken out of it.
  if (state_ == nullptr) return withdrawn_early_.push_back(credential);
  state_->withdrawals().drop_credential(credential);
  enforce("credential " + credential);
  if (auto* grant = state_->find(credential)) grant->secret = SecretBytes();
}

void SessionControl::enforce(const std::string& what) {
  broker_->enforce_withdrawals();
  try {
    state_->segment().write(audit::AuthorityWithdrawn{printable(what)});
  } catch (const Error& error) {
    log::warning(error.what());  // it is withdrawn all the same
  }
}

}  // namespace agentvault::session
