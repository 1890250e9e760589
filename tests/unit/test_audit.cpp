// The audit log: lines as any JSON reader sees them, and when they are in the file.
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "audit/segment.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "catch.hpp"
#include "scratch.hpp"

using namespace agentvault;
using namespace agentvault::audit;

namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ostringstream out;
  out << std::ifstream(file).rdbuf();
  return out.str();
}

/// No file may grow beyond this, while it lives: what a full disk does to a write.
class FileLimit {
 public:
  explicit FileLimit(rlim_t size) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{size, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_handler_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*before_handler_)(int) = nullptr;
};

RequestDecided decided(std::uint64_t request) {
  RequestDecided event;
  event.request = request;
  event.method = "GET";
  event.decision = Decision::allow;
  return event;
}

}  // namespace

TEST_CASE("a line reads back as what was written, whatever bytes it was") {
  std::mt19937 random(7);
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> values(1 + random() % 4);
    for (auto& value : values) {
      value.resize(random() % 40);
      // Mostly plain text, with quotes, control characters and broken UTF-8 in between.
      for (auto& c : value)
        c = random() % 8 != 0 ? static_cast<char>(' ' + random() % 95) : static_cast<char>(random());
    }
    std::string out;
    LineWriter line(out);
    line.number("n", random()).text("t", values.front()).list("l", values);
    line.end();
    REQUIRE(out.ends_with("}\n"));
    REQUIRE(out.find('\n') == out.size() - 1);
    const auto read = nlohmann::json::parse(out);
    const auto as_read = [](const std::string& value) {
      const auto dumped = nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      return nlohmann::json::parse(dumped).get<std::string>();
    };
    REQUIRE(read["t"] == as_read(values.front()));
    REQUIRE(read["l"].size() == values.size());
    for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(read["l"][i] == as_read(values[i]));
  }
}

TEST_CASE("the clock of the log is the one of all other times") {
  Clock clock;
  for (int i = 0; i < 1000; ++i) {
    const auto before = format_time(std::chrono::system_clock::now());
    const std::string now(clock.now());
    const auto after = format_time(std::chrono::system_clock::now());
    REQUIRE((before <= now && now <= after));
  }
}

TEST_CASE("lines are in the file once they were committed, in their order, and at the latest at the end") {
  const Scratch scratch;
  const auto file = scratch / "audit/session/events.jsonl";
  {
    auto segment = Segment::create(scratch / "audit", "session");
    segment.append(decided(1));
    segment.append(RequestSettled{1, 200, 0, 5, 0, 2, "complete"});
    CHECK(text_of(file).empty());
    CHECK(segment.appended() == 2);
    CHECK(segment.committed() == 0);
    segment.commit();
    CHECK(segment.committed() == 2);
    segment.write(SessionEnded{"the child ended"});
    segment.append(decided(2));
  }
  std::istringstream lines(text_of(file));
  std::string line;
  const char* expected[]{"decided", "settled", "session-ended", "decided"};
  std::uint64_t sequence = 0;
  while (std::getline(lines, line)) {
    const auto event = nlohmann::json::parse(line);
    REQUIRE(sequence < std::size(expected));
    CHECK(event["seq"] == sequence);
    CHECK(event["event"] == expected[sequence++]);
  }
  CHECK(sequence == std::size(expected));
}

TEST_CASE("what collects too long is written without being asked for") {
  const Scratch scratch;
  auto segment = Segment::create(scratch / "audit", "session");
  const std::string path(10'000, 'p');
  auto event = decided(1);
  event.path = path;
  for (int i = 0; i < 50; ++i) segment.append(event);
  CHECK(segment.committed() > 0);
}

TEST_CASE("once a line could not be written, none is any more") {
  const Scratch scratch;
  auto segment = Segment::create(scratch / "audit", "session");
  segment.write(decided(1));
  {
    const FileLimit full(text_of(scratch / "audit/session/events.jsonl").size() + 10);
    segment.append(decided(2));
    CHECK_THROWS_AS(segment.commit(), Error);
  }
  CHECK(segment.broken());
  CHECK(segment.committed() == 1);
  CHECK_THROWS_AS(segment.append(decided(3)), Error);
  CHECK_THROWS_AS(segment.commit(), Error);
}
