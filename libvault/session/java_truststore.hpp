// Java reads no PEM: trusted certificates reach it in a key store of its own format, JKS, which every Java still reads.
// It is public data under a well-known password.
#pragma once

#include <string_view>

#include "base/bytes.hpp"

namespace agentvault::session {

/// All certificates of a PEM text, as they stand there. What is no certificate is left out.
Bytes java_truststore(std::string_view pem, std::string_view password);

}  // namespace agentvault::session
