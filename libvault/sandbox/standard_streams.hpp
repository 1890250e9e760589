// What an agent, or a sub-agent, is given of the descriptors of whoever started it: its standard streams, and no
// others.
#pragma once

#include <vector>

#include "sandbox/file_identity.hpp"
#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

/// A folder among them would be a way around everything that is mounted since; a socket that can still be connected, or
/// sent from to anybody, or is connected to somewhere else, a way around the network. Throws Error(usage).
void check_standard_streams();

/// Those that are somebody's files, and none that the view lets be written: what is open is no way to their attributes.
std::vector<FileIdentity> streams_outside(const FileView& view);

/// Closes all others but these.
void close_all_but_standard_streams(std::vector<int> kept = {});

}  // namespace agentvault::sandbox
