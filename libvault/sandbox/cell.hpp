// What an agent runs in: made at once, empty, before anything secret exists in this process; entered later. Between
// exec and the agent stays one process of ours, the keeper (keeper.hpp).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "sandbox/channel.hpp"
#include "sandbox/file_view.hpp"
#include "sandbox/furnishing.hpp"
#include "sandbox/inner_network.hpp"
#include "sandbox/level.hpp"

namespace agentvault::sandbox {

struct CellRequest {
  Level level = Level::off;
  std::vector<std::string> command;
  mode_t umask = 022;
  FileRequest files;
  std::vector<std::uint16_t> reached_ports;  // Level::strict: of 127.0.0.1 inside
};

class Cell {
 public:
  /// Throws what making the cell threw, in words for a person, and leaves nothing behind.
  explicit Cell(const CellRequest& request);
  /// One that was never entered ends by itself.
  ~Cell();
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  /// Level::strict, once.
  Doors take_doors() { return std::move(doors_); }
  /// The outer end of the agent's own terminal, once; null where exec has none.
  UniqueFd take_terminal() { return std::move(terminal_); }
  /// Level::standard, once: where the local ports of the agent's connections are read, before these are made.
  UniqueFd take_announcements() { return std::move(announcements_); }
  bool working_directory_writable() const { return working_directory_writable_; }
  /// For the person: what was made for the agent, and what could not be hidden or kept.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Likewise what it did not get to make, and what it left behind; complete when the child has ended and its events
  /// are read.
  const std::vector<std::string>& last_notes() const { return last_notes_; }
  /// The agent's files in a few lines.
  const std::vector<std::string>& summary() const { return summary_; }

  /// The agent's program begins. Returns 0, or the errno with which that failed; then the cell is gone. Throws
  /// Error(failed).
  int enter(const Furnishing& furnishing);

  /// This process' child, whose end is the end of the cell. Its status is the agent's: 128+n for signal n.
  pid_t child() const { return child_; }
  /// The agent itself.
  pid_t agent() const { return agent_; }
  int agent_handle() const { return agent_handle_.get(); }

  /// Can be read when the keeper has something to tell; -1 at Level::off.
  int events() const { return level_ == Level::off ? -1 : channel_.get(); }
  struct Event {
    enum class Kind { none, stopped, connected, noted } kind = Kind::none;
    UniqueFd connection;  // null when nobody listens
    int signal = 0;       // that stopped it
  };
  Event next_event();
  /// Level::strict: asks for a connection to 127.0.0.1 inside. It comes as an event, in the order of asking.
  void ask_for_connection(std::uint16_t port);
  /// With a terminal of its own: the agent's group goes on, in front of it or behind; or gets a signal.
  void go_on(bool in_front);
  void signal_group(int number);

 private:
  void expect_ready();
  [[noreturn]] void fail(const Message& message);

  Level level_;
  Channel channel_;
  pid_t child_ = -1;
  pid_t agent_ = -1;
  UniqueFd agent_handle_;
  Doors doors_;
  UniqueFd announcements_;
  UniqueFd terminal_;
  bool working_directory_writable_ = true;
  std::vector<std::string> notes_;
  std::vector<std::string> summary_;
  std::vector<std::string> last_notes_;
  bool entered_ = false;
};

}  // namespace agentvault::sandbox
