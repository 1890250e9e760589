// nftables (nft(8)): connections to anywhere become connections to one port of 127.0.0.1.
#pragma once

#include <cstdint>

namespace agentvault::sandbox {

/// In this network namespace, for what its own processes send: TCP to all but 127.0.0.0/8 goes to `tcp_port`, and
/// name requests (UDP, port 53) to `name_port`. Where a connection was meant to go, SO_ORIGINAL_DST tells. False
/// when this kernel has no such rules.
bool redirect_connections(std::uint16_t tcp_port, std::uint16_t name_port);

}  // namespace agentvault::sandbox
