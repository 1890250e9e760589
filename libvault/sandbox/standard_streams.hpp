// What an agent, or a sub-agent, is given of the descriptors of whoever started it: its standard streams, and no
// others.
#pragma once

namespace agentvault::sandbox {

/// A folder among them would be a way around everything that is mounted since; a socket that can still be connected, or
/// sent from to anybody, or is connected to somewhere else, a way around the network. Throws Error(usage).
void check_standard_streams();

/// Closes all others but `kept`.
void close_all_but_standard_streams(int kept = -1);

}  // namespace agentvault::sandbox
