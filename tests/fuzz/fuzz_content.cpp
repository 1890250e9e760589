// The border to bodies that rules and budgets read: any bytes in any form are read within bounds, and where an answer's
// pieces are cut does not matter.
#include <cstdlib>

#include "budget/model_call.hpp"
#include "budget/model_usage.hpp"
#include "policy/content.hpp"

using namespace agentvault;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const char* const types[]{"application/json", "application/x-www-form-urlencoded", "application/graphql",
                                   "text/plain"};
  using Shape = provider::Metering::Shape;
  static constexpr Shape shapes[]{Shape::openai, Shape::anthropic, Shape::gemini, Shape::opaque};
  static const char* const paths[]{"/v1/responses", "/v1/messages", "/v1beta/models/m:generateContent", "/v1/x"};
  const std::string body(reinterpret_cast<const char*>(data) + 2, size - 2);
  http::Fields fields;
  fields.add("Content-Type", types[data[0] % 4]);
  policy::Questions questions;
  questions.pointers = {"/model", "/a/0/b", "/a/*/b", "/*", "/a/*/b/*", "/max_tokens"};
  questions.body = questions.graphql = true;
  const policy::Content content(fields, &body, questions);
  policy::Values values;
  values.texts = {"gpt-*"};
  values.most = 10;
  for (const auto& pointer : questions.pointers) (void)content.json(pointer, values, data[1] % 2 == 0);
  (void)content.form("a", values);
  (void)content.graphql();
  (void)policy::read_graphql(body);

  const auto shape = shapes[data[0] % 4];
  (void)budget::read_model_call(shape, "POST", paths[data[0] % 4], &body);
  const bool stream = data[0] % 2 == 0;
  budget::UsageReader whole(shape, stream);
  whole.feed(as_bytes(body));
  budget::UsageReader parts(shape, stream);
  const std::size_t step = 1 + data[1] % 16;
  for (std::size_t at = 0; at < body.size(); at += step) parts.feed(as_bytes(body.substr(at, step)));
  const auto one = whole.finish();
  const auto other = parts.finish();
  if (one.has_value() != other.has_value()) std::abort();
  if (one && (one->input != other->input || one->output != other->output)) std::abort();
  return 0;
}
