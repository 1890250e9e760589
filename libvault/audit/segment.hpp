// The audit log of one session: JSON lines, one file, appended with one write() each (schemas/audit-event.schema.json).
//
// Events are built from these types only. None of them can hold a secret: no header values, no query, no body.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.hpp"

namespace agentvault::audit {

struct SessionBegan {
  std::string agent;
  std::vector<std::string> credentials;
  std::string isolation;
  std::string tpm;
};

struct SessionEnded {
  std::string reason;
};

/// Something was taken from the session while it ran.
struct AuthorityWithdrawn {
  std::string what;  // "everything", "token ID", "credential NAME"
};

enum class Decision { allow, deny, ask };

/// Written before anything is forwarded; of a request that a person is asked about also before that.
struct RequestDecided {
  std::uint64_t request;
  std::string token;  // id of the token that was presented, empty without a good one
  std::vector<std::string> chain;
  std::string credential;  // "": none went with it
  std::string host;        // the upstream's, with port; "": it was not understood
  std::string method;
  std::string path;  // without the query
  Decision decision;
  std::string reason;  // the rule, or the code of the refusal
};

/// Written when the response has ended, however it did.
struct RequestSettled {
  std::uint64_t request;
  int status;  // 0: no response
  std::uint64_t bytes_sent;
  std::uint64_t bytes_received;
  std::uint64_t scrubbed;  // how often a secret was found in the response and taken out
  std::uint64_t milliseconds;
  std::string ended;  // "complete", or why not
};

class Segment {
 public:
  /// Makes DIRECTORY/SESSION/events.jsonl. Throws when there is one.
  static Segment create(const std::filesystem::path& directory, const std::string& session);

  /// Throws Error(failed) when the line cannot be written: then nothing may be forwarded.
  void write(const SessionBegan& event);
  void write(const SessionEnded& event);
  void write(const AuthorityWithdrawn& event);
  void write(const RequestDecided& event);
  void write(const RequestSettled& event);
  void sync();

 private:
  explicit Segment(UniqueFd fd) : fd_(std::move(fd)) {}
  template <class Json>
  void append(const char* kind, Json body);

  UniqueFd fd_;
  std::uint64_t sequence_ = 0;
  bool broken_ = false;
};

}  // namespace agentvault::audit
