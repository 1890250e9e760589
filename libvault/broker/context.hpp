// What all connections of a broker share.
#pragma once

#include <set>
#include <string>

#include "broker/approvals.hpp"
#include "broker/body_room.hpp"
#include "broker/session_state.hpp"
#include "broker/shares.hpp"
#include "broker/upstream.hpp"
#include "net/network.hpp"
#include "net/session_ca.hpp"
#include "policy/egress.hpp"
#include "scrub/scrubber.hpp"

namespace agentvault::broker {

struct BrokerContext {
  net::Reactor& reactor;
  SessionState& session;
  net::Network network;
  UpstreamPool pool;
  net::SessionCa& ca;
  policy::Egress egress;
  scrub::Needles needles;
  Approvals approvals;
  Shares shares;
  std::string authority;  // "127.0.0.1:PORT"
  BodyRoom body_room;
  std::set<std::string> distrusted_at;  // hosts at which a client did not accept our certificate
};

}  // namespace agentvault::broker
