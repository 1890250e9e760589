// Name requests of an agent: every answer belongs to its request, and an address only to a valid, known name.
#include <algorithm>
#include <cstdlib>

#include "net/name_stub.hpp"
#include "net/origin.hpp"

using namespace agentvault;
using namespace agentvault::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Reactor reactor;
  bool asked = false;
  std::string name;
  NameStub stub(reactor, UniqueFd(), [&](const std::string& wanted) {
    asked = true;
    name = wanted;
    return wanted.ends_with("g");
  });
  const ByteView request(data, size);
  const auto answer = stub.answer(request);
  if (!answer) return 0;
  if (answer->size() < 12 || answer->size() > size + 16 ||
      !std::equal(request.begin(), request.begin() + 2, answer->begin()))
    std::abort();
  if (asked && !valid_host_name(name)) std::abort();
  const auto given = stub.name_of(*Address::parse_literal("198.18.0.1", 1));
  if (given.has_value() != ((*answer)[7] == 1) || (given && (*given != name || !name.ends_with("g")))) std::abort();
  return 0;
}
