#include "session/session_control.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kMostEarly = 16;  // between registration and the first request is a moment

}  // namespace

SessionControl::SessionControl(net::Reactor& reactor, int listening_socket, SessionStatus status)
    : reactor_(reactor),
      status_(std::move(status)),
      server_(reactor, listening_socket,
              {[this] { return current_status(); }, [this](bool rotated) { stop(rotated); },
               [this](const std::string& agent) {
                 if (agent == status_.agent) stop(false);
                 return agent == status_.agent;
               },
               [this](const std::string& id) { return revoke_token(id); },
               [this](const std::string& credential) { withdraw(credential); },
               [this] { return broker_ != nullptr ? broker_->approvals().pending() : std::vector<broker::Question>(); },
               [this](const std::string& id) {
                 const auto* body = broker_ != nullptr ? broker_->approvals().body_of(id) : nullptr;
                 return body != nullptr ? std::optional(*body) : std::nullopt;
               },
               [this](const std::string& id, bool approved, std::chrono::seconds standing) {
                 return broker_ != nullptr && broker_->approvals().answer(id, approved, standing);
               },
               [this](ByteView announcement) { return take_policies(announcement); }}) {}

void SessionControl::begin(broker::SessionState& state, broker::Broker& broker, Governed governed) {
  state_ = &state;
  broker_ = &broker;
  governed_ = std::move(governed);
  for (const auto& credential : withdrawn_early_) withdraw(credential);
  for (const auto& announcement : announced_early_) take_policies(announcement);
}

SessionStatus SessionControl::current_status() {
  if (state_ != nullptr) status_.requests = state_->requests();
  return status_;
}

void SessionControl::stop(bool rotated) {
  if (rotated && state_ == nullptr) {
    rotated_ = true;
    return reactor_.stop();
  }
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

bool SessionControl::take_policies(ByteView bytes) {
  // The opener may have read the vault before they were changed.
  if (state_ == nullptr) {
    if (announced_early_.size() == kMostEarly) {
      stop(false);
    } else {
      announced_early_.emplace_back(bytes.begin(), bytes.end());
    }
    return true;
  }
  const auto announcement = read_announcement(bytes, governed_->key);
  if (!announcement) return false;
  if (announcement->version <= governed_->version) return true;  // heard before
  governed_->version = announcement->version;
  try {
    governed_->obey(announcement->policies);
    broker_->approvals().forget_standing();
  } catch (const Error& error) {
    log::warning(std::string("this session ends: ") + error.what());
    stop(false);
    return true;
  }
  enforce("policy");
  return true;
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
