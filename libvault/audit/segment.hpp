// The audit log of one session: JSON lines in one file (schemas/audit-event.schema.json). Lines are collected, and
// written by one write() when they must be there: before anything is sent that they decide about.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "audit/events.hpp"
#include "audit/line.hpp"
#include "base/file.hpp"

namespace agentvault::audit {

class Segment {
 public:
  /// Makes DIRECTORY/SESSION/events.jsonl. Throws when there is one.
  static Segment create(const std::filesystem::path& directory, const std::string& session);
  ~Segment();
  Segment(Segment&&) = default;
  Segment& operator=(Segment&&) = default;

  /// Throws Error(failed) once a line could not be written: half of it may be in the file, and nothing is to be
  /// appended to that.
  void append(const SessionBegan& event);
  void append(const SessionEnded& event);
  void append(const AuthorityWithdrawn& event);
  void append(const RequestDecided& event);
  void append(const RequestSettled& event);

  /// Writes what was appended. Throws Error(failed): then what these lines allow must not be forwarded.
  void commit();
  /// append(), and commit() at once.
  template <class Event>
  void write(const Event& event) {
    append(event);
    commit();
  }
  void sync();

  /// How many lines were appended, and how many of them are in the file.
  std::uint64_t appended() const { return appended_; }
  std::uint64_t committed() const { return committed_; }
  /// Nothing more will be written.
  bool broken() const { return broken_; }

 private:
  explicit Segment(UniqueFd fd) : fd_(std::move(fd)) {}
  LineWriter begin_line(const char* kind);
  void end_line(LineWriter& line);

  UniqueFd fd_;
  std::string lines_;  // not yet in the file
  Clock clock_;
  std::uint64_t appended_ = 0;
  std::uint64_t committed_ = 0;
  bool broken_ = false;
};

}  // namespace agentvault::audit
