// A word on the desktop when something waits for approval. Only how many: what is asked stays off the screen.
#pragma once

#include <cstddef>

#include "base/file.hpp"

namespace agentvault::session {

class Notifier {
 public:
  /// Without a desktop's bus (DBUS_SESSION_BUS_ADDRESS) or notify-send it does nothing. Must be made before this
  /// process holds anything secret: what shows the words is a process of its own, which ends with this object.
  explicit Notifier(bool wanted);

  void say(std::size_t waiting);

 private:
  UniqueFd pipe_;
};

}  // namespace agentvault::session
