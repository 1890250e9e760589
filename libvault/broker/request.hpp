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

namespace agentvault::broker {

struct Request {
  std::uint64_t number = 0;
  http::RequestHead head;
  http::Target target;                     // towards the upstream: what is judged and what is forwarded
  Grant* grant = nullptr;                  // from the route
  const VerifiedToken* token = nullptr;    // valid only until the next request is authenticated
  std::vector<std::string> token_ids;      // by which the token can be revoked while the exchange runs
  std::optional<std::uint64_t> not_after;  // Unix seconds, from the token
  std::string pool_key;                    // credential and chain: connections are shared by nothing wider
  std::string basic_user;                  // the other side of Basic authentication, as the client gave it
  std::string basic_pass;
};

}  // namespace agentvault::broker
