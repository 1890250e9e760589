// One request on its way through the stages: parse → route → authenticate → decide → record → inject → forward → scrub
// → settle. Each stage is a function over this value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/session_state.hpp"
#include "http/head.hpp"
#include "http/target.hpp"
#include "net/network.hpp"

namespace agentvault::broker {

/// A body that is sent as one piece because the secret goes into it: it stands between the two.
struct BodyAround {
  std::string before;
  std::string behind;
};

struct Request {
  std::uint64_t number = 0;
  http::RequestHead head;
  http::Target target;  // towards the upstream: what is judged and what is forwarded
  net::Endpoint upstream;
  std::vector<Grant*> candidates;          // from the route: the credentials that are bound to this upstream
  Grant* grant = nullptr;                  // the one that goes with it; null: no credential does
  bool by_base_url = false;                // the credential was addressed by its name
  bool websocket = false;                  // asks to become one
  bool declares_plan = false;              // is for the broker itself
  TokenRef token;                          // null until it was authenticated
  std::vector<std::string> token_ids;      // by which the token can be revoked while the exchange runs
  std::optional<std::uint64_t> not_after;  // Unix seconds, from the token
  std::string pool_key;                    // credential and chain: connections are shared by nothing wider
  std::string basic_user;                  // the other side of Basic authentication, as the client gave it
  std::string basic_pass;
  std::size_t path_hole = 0;    // injection into the path: where the secret goes
  bool collected = false;       // the body was read before the request was judged: a key goes there, or a rule asks
  std::string body;             // then all of it
  BodyAround body_around;       // and what is left of it without the token
  bool approved = false;        // by a person, now or for requests like it
  std::shared_ptr<void> share;  // of what its sub-agent may have under way, while this lives
  std::optional<budget::Reservation> reservation;  // what was counted against budgets
  bool model_call = false;                         // what it uses is in its answer
  std::optional<provider::Price> price;            // of the model

  bool has_body() const {
    using Kind = http::Framing::Kind;
    const auto& framing = head.framing;
    return framing.kind != Kind::none && !(framing.kind == Kind::length && framing.length == 0);
  }
  bool has_body_hole() const {
    return grant != nullptr && grant->binding.inject.place.kind == provider::Place::Kind::body;
  }
  /// What withdrawals and the log call the credential; "" without one.
  const std::string& credential() const {
    static const std::string none;
    return grant != nullptr ? grant->name : none;
  }
};

}  // namespace agentvault::broker
