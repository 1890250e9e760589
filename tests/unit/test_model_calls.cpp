// What a request to a model can use at most, what its answer says was used, and what that costs.
#include "budget/model_call.hpp"
#include "budget/model_usage.hpp"
#include "catch.hpp"
#include "provider/preset.hpp"

using namespace agentvault;
using namespace agentvault::budget;

namespace {

using Shape = provider::Metering::Shape;

ModelCall call_of(Shape shape, const char* path, const std::string& body) {
  const auto call = read_model_call(shape, "POST", path, &body);
  const auto* found = std::get_if<ModelCall>(&call);
  REQUIRE(found != nullptr);
  return *found;
}

std::string unbounded(Shape shape, const char* path, const std::string& body) {
  const auto call = read_model_call(shape, "POST", path, &body);
  const auto* found = std::get_if<Unbounded>(&call);
  return found != nullptr ? found->reason : "";
}

std::optional<provider::ModelTokens> used(Shape shape, bool stream, const std::string& text, std::size_t step = 1) {
  UsageReader reader(shape, stream);
  for (std::size_t at = 0; at < text.size(); at += step) reader.feed(as_bytes(text.substr(at, step)));
  return reader.finish();
}

}  // namespace

TEST_CASE("the most that a request to a model can use") {
  const auto chat = call_of(Shape::openai, "/v1/chat/completions",
                            R"({"model":"gpt-5","max_completion_tokens":50,"n":3,"messages":[]})");
  CHECK(chat.model == "gpt-5");
  CHECK(chat.most.output == 150);
  CHECK(chat.most.input >= 60);
  CHECK(call_of(Shape::openai, "/v1/responses", R"({"model":"gpt-5","input":"hi"})").most.output == 131'072);
  // A limit that the service ignores is none.
  CHECK_FALSE(unbounded(Shape::openai, "/v1/responses", R"({"model":"gpt-5","max_tokens":1})").empty());
  CHECK_FALSE(unbounded(Shape::anthropic, "/v1/messages", R"({"model":"c","max_output_tokens":1})").empty());
  CHECK_FALSE(unbounded(Shape::gemini, "/v1beta/models/g:generateContent", R"({"maxOutputTokens":1})").empty());
  CHECK(call_of(Shape::gemini, "/v1beta/models/g:generateContent",
                R"({"tools":[{"functionDeclarations":[]}],
                    "generation_config":{"max_output_tokens":60000},"generationConfig":{"maxOutputTokens":1}})")
            .most.output == 60'000);
  CHECK(call_of(Shape::anthropic, "/v1/messages", R"({"model":"c","tools":[{"type":"bash_20250124"}]})").model == "c");
  // Each prompt of a list is answered; one that is a list of tokens is one.
  const auto completions = [](const std::string& more) {
    return call_of(Shape::openai, "/v1/completions", R"({"model":"g","max_tokens":10,)" + more + "}").most.output;
  };
  CHECK(completions(R"("prompt":["a","b","c"])") == 30);
  CHECK(completions(R"("n":2,"prompt":[[1,2],[3]])") == 40);
  CHECK(completions(R"("prompt":[1,2,3])") == 10);
  CHECK(call_of(Shape::openai, "/openai/deployments/mine/chat/completions", R"({"model":"g"})").model == "mine");
  CHECK(call_of(Shape::openai, "/v1/responses",
                R"({"model":"g","service_tier":"flex","input":[{"role":"user","content":"x","id":"m"},)"
                R"({"type":"reasoning","id":"r","summary":[],"encrypted_content":"x"}]})")
            .model == "g");
  CHECK(call_of(Shape::openai, "/v1/embeddings", R"({"model":"e","input":"hi"})").most.output == 0);
  CHECK(call_of(Shape::gemini, "/v1beta/models/gemini-2.5-pro:generateContent",
                R"({"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":9}})")
            .model == "gemini-2.5-pro");
  const auto cached = call_of(
      Shape::anthropic, "/v1/messages",
      R"({"model":"c","max_tokens":5,"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],"messages":[]})");
  CHECK(cached.most.cache_writes == cached.most.input);
  const auto image = call_of(
      Shape::anthropic, "/v1/messages",
      R"({"model":"c","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}]})");
  CHECK(image.most.input > 10'000);
  // Summing up the conversation first is one reading and one answer more.
  const auto compacted = [](const char* more) {
    return call_of(Shape::anthropic, "/v1/messages", std::string(R"({"model":"c","max_tokens":5,"messages":[])") + more)
        .most;
  };
  const auto edits = [](const std::string& type) {
    return R"(,"context_management":{"edits":[{"type":")" + type + R"("}]}})";
  };
  CHECK(compacted(edits("compact_20260112").c_str()).output == 2 * compacted("}").output);
  CHECK(compacted(edits("compact_20260112").c_str()).input > 2 * compacted("}").input);
  CHECK(compacted(edits("clear_tool_uses_20250919").c_str()).output == 5);
  // Products stay at the most.
  const auto huge = call_of(Shape::openai, "/v1/completions",
                            R"({"model":"g","max_tokens":549755813888,"n":524288,"prompt":["x","x","x","x","x","x","x",
"x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x",
"x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x"]})");
  CHECK(huge.most.output == ~std::uint64_t{0});
  // What agents send today.
  CHECK(call_of(Shape::anthropic, "/v1/messages",
                R"({"model":"c","max_tokens":5,"stream":true,"metadata":{"user_id":"x"},"system":"s","temperature":1,
                    "thinking":{"type":"enabled","budget_tokens":4},"output_config":{"effort":"high"},
                    "tools":[{"name":"Bash","description":"d","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],
                    "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":false,
                      "content":[{"type":"text","text":"x"}]}]},
                      {"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"y"}]}]})")
            .most.output == 5);
  CHECK(
      call_of(Shape::openai, "/v1/responses",
              R"({"model":"g","instructions":"i","store":false,"include":["reasoning.encrypted_content"],"stream":true,
                    "prompt_cache_key":"k","reasoning":{"effort":"low"},"parallel_tool_calls":false,"tool_choice":"auto",
                    "tools":[{"type":"function","name":"f","strict":false,"parameters":{"type":"web_search"}},
                             {"type":"custom","name":"apply_patch","format":{"type":"grammar"}},{"type":"local_shell"}],
                    "input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"x"}]},
                             {"type":"function_call","name":"f","arguments":"{}","call_id":"c"},
                             {"type":"function_call_output","call_id":"c","output":"done"},
                             {"type":"tool_search_output","tools":[{"type":"function","name":"f"}]}]})")
          .model == "g");
  CHECK(call_of(Shape::openai, "/v1/chat/completions",
                R"({"model":"g","stream":true,"stream_options":{"include_usage":true},"messages":[
                    {"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"https://x"}}]},
                    {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
                    {"role":"tool","tool_call_id":"c","content":"x"}]})")
            .most.input > 50'000);
  // What an agent's own tool takes, or was called with, is its own business.
  CHECK(
      call_of(
          Shape::anthropic, "/v1/messages",
          R"({"model":"c","max_tokens":5,"tools":[{"name":"t","input_schema":{"type":"object","properties":{"file_id":{"type":"string"}}}}],
                    "messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"type":"document","file_id":"x"}}]}]})")
          .model == "c");
}

TEST_CASE("requests without a bound are said to have none") {
  const auto openai = [](const std::string& more) {
    return unbounded(Shape::openai, "/v1/responses", R"({"model":"gpt-5",)" + more + "}");
  };
  for (const char* more : {R"("previous_response_id":"r")", R"("conversation":{"id":"c"})", R"("prompt":{"id":"p"})",
                           R"("background":true)", R"("tools":[{"type":"web_search"}])",
                           R"("tools":[{"type":"code_interpreter","container":{}}])", R"("service_tier":"priority")",
                           R"("input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}])",
                           R"("max_output_tokens":-1)", R"("n":0)", R"("input":[{"type":"item_reference","id":"i"}])",
                           R"("input":[{"role":"user","content":"x"},{"id":"msg_abc"}])",
                           R"("service_tier":"Priority")", R"("service_tier":"fast")"}) {
    INFO(more);
    CHECK_FALSE(openai(more).empty());
  }
  for (const char* more : {R"("models":["dear"])", R"("plugins":[{"id":"web"}])", R"("modalities":["text","audio"])",
                           R"("tools":{"a":{"type":"web_search"}})", R"("tools":[{"type":"bash_from_elsewhere"}])",
                           R"("max_output_tokens":"9")", R"("max_output_tokens":[9])", R"("n":"5")", R"("n":[5])"}) {
    INFO(more);
    CHECK_FALSE(openai(more).empty());
  }
  for (const char* more :
       {R"("input":[{"type":"additional_tools","role":"developer","tools":[{"type":"web_search"}]}])",
        R"("input":[{"type":"tool_search_output","tools":[{"type":"code_interpreter"}]}])",
        R"("tools":[{"type":"namespace","name":"n","tools":[{"type":"file_search"}]}])", R"("a_member_of_tomorrow":1)",
        R"("input":[{"type":"a_kind_of_tomorrow","role":"user"}])", R"("Tools":[])",
        R"("context_management":[{"type":"other"}])", R"("input":[{"role":"user","content":[{"text":"x"}]}])",
        R"("stream":{"a":1})"}) {
    INFO(more);
    CHECK_FALSE(openai(more).empty());
  }
  CHECK(openai(R"("input":[{"type":"additional_tools","tools":[{"type":"web_search"}]}])") ==
        R"(the request holds input/0/tools/0/type = "web_search", for which no limit is known)");
  CHECK(openai(R"("input":[{"role":"user","content":[{"text":"x"}]}])") ==
        R"(the request holds input/0/content/0 without "type", for which no limit is known)");
  for (const char* body : {R"({"model":"c","speed":"fast"})", R"({"model":"c","inference_geo":"us"})",
                           R"({"model":"c","compaction":{}})", R"({"model":"c","fallbacks":[{"model":"d"}]})"}) {
    INFO(body);
    CHECK_FALSE(unbounded(Shape::anthropic, "/v1/messages", body).empty());
  }
  for (const char* model : {"openai/gpt-4o:online", "gpt-4o-search-preview", "sonar-pro", "groq/compound"}) {
    INFO(model);
    CHECK_FALSE(
        unbounded(Shape::openai, "/v1/chat/completions", R"({"messages":[],"model":")" + std::string(model) + "\"}")
            .empty());
  }
  // What is null is not said.
  CHECK(call_of(Shape::openai, "/v1/responses", R"({"model":"g","previous_response_id":null,"input":"x"})").model ==
        "g");
  const auto gemini = [](const std::string& body) {
    return unbounded(Shape::gemini, "/v1beta/models/g:generateContent", body);
  };
  for (const char* body :
       {R"({"cached_content":"c"})", R"({"tools":[{"aToolOfTomorrow":{}}]})",
        R"({"contents":[{"parts":[{"functionResponse":{"parts":[{"fileData":{"fileUri":"x"}}]}}]}]})",
        R"({"generation_config":{"candidate_count":0}})",
        R"({"contents":[{"parts":[{"inlineData":{"data":"x"}}]}]})"}) {
    INFO(body);
    CHECK_FALSE(gemini(body).empty());
  }
  CHECK_FALSE(unbounded(Shape::openai, "/v1/x/uploads/y/completions", "{}").empty());
  CHECK_FALSE(unbounded(Shape::openai, "/v1/responses", "{}").empty());
  CHECK_FALSE(unbounded(Shape::openai, "/v1/responses", "[]").empty());
  CHECK_FALSE(unbounded(Shape::openai, "/v1/responses", R"({"model":"a","model":"b"})").empty());
  CHECK_FALSE(unbounded(Shape::openai, "/v1/images/generations", R"({"model":"a"})").empty());
  CHECK_FALSE(unbounded(Shape::anthropic, "/v1/messages/batches", "{}").empty());
  CHECK_FALSE(unbounded(Shape::anthropic, "/v1/messages", R"({"model":"c","mcp_servers":[]})").empty());
  CHECK_FALSE(unbounded(Shape::anthropic, "/v1/messages",
                        R"({"model":"c","messages":[{"content":[{"type":"document","source":{}}]}]})")
                  .empty());
  CHECK_FALSE(
      unbounded(Shape::gemini, "/v1beta/models/g:generateContent", R"({"tools":[{"googleSearch":{}}]})").empty());
  CHECK_FALSE(
      unbounded(Shape::gemini, "/v1beta/models/g:generateContent", R"({"contents":[{"parts":[{"fileData":{}}]}]})")
          .empty());
  CHECK_FALSE(unbounded(Shape::opaque, "/v1/anything", "{}").empty());
  const auto unread = read_model_call(Shape::openai, "POST", "/v1/responses", nullptr);
  CHECK(std::holds_alternative<Unbounded>(unread));
  const std::string none;
  CHECK(std::holds_alternative<NoModelCall>(read_model_call(Shape::openai, "GET", "/v1/models", &none)));
  CHECK(std::holds_alternative<NoModelCall>(read_model_call(Shape::none, "POST", "/x", &none)));
  CHECK(std::holds_alternative<NoModelCall>(
      read_model_call(Shape::anthropic, "POST", "/v1/messages/count_tokens", &none)));
}

TEST_CASE("what answers say was used, in one piece and in many") {
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{100'000}}) {
    const auto chat =
        used(Shape::openai, false, R"({"id":"x","usage":{"prompt_tokens":10,"completion_tokens":5}})", step);
    REQUIRE(chat);
    CHECK((chat->input == 10 && chat->output == 5));
    const auto response = used(Shape::openai, true,
                               "event: response.created\ndata: {\"response\":{\"usage\":null}}\n\n"
                               "event: response.completed\r\ndata: "
                               "{\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}}\r\n\r\n",
                               step);
    REQUIRE(response);
    CHECK((response->input == 7 && response->output == 3));
    const auto claude =
        used(Shape::anthropic, true,
             "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":20,"
             "\"cache_creation_input_tokens\":4,\"cache_read_input_tokens\":1,\"output_tokens\":1}}}\n\n"
             "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":90}}\n\n",
             step);
    REQUIRE(claude);
    CHECK((claude->input == 25 && claude->output == 90 && claude->cache_writes == 4));
    const auto gemini =
        used(Shape::gemini, true,
             "data: {\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":1,\"totalTokenCount\":5}}\n\n"
             "data: {\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":9,\"thoughtsTokenCount\":2,"
             "\"totalTokenCount\":15}}\n\n",
             step);
    REQUIRE(gemini);
    CHECK((gemini->input == 4 && gemini->output == 11));
    // Each sampling of one request counts; what was read from a cache is known of each.
    const auto compacted = used(Shape::anthropic, false,
                                R"({"usage":{"input_tokens":23000,"output_tokens":1000,"iterations":[
             {"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":20000},
             {"type":"message","input_tokens":23000,"output_tokens":1000}]}})",
                                step);
    REQUIRE(compacted);
    CHECK((compacted->input == 223'000 && compacted->output == 4500 && compacted->cache_reads == 20'000));
    CHECK_FALSE(used(Shape::anthropic, false,
                     R"({"usage":{"input_tokens":1,"output_tokens":1,"iterations":[{"input_tokens":"9"}]}})", step));
    const auto cached = used(
        Shape::openai, false,
        R"({"usage":{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":90}}})", step);
    CHECK((cached && cached->cache_reads == 90));
    const auto gemini_cached =
        used(Shape::gemini, false,
             R"({"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":80,"totalTokenCount":101}})", step);
    CHECK((gemini_cached && gemini_cached->cache_reads == 80));
    // A part of an answer, as a field mask asks for it, settles nothing.
    CHECK_FALSE(used(Shape::gemini, false, R"({"usageMetadata":{"promptTokenCount":4}})", step));
    CHECK_FALSE(used(Shape::openai, false, R"({"usage":{"prompt_tokens":4}})", step));
    CHECK_FALSE(used(Shape::openai, true, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", step));
    CHECK_FALSE(used(Shape::openai, false, R"({"text":"\"usage\":{\"prompt_tokens\":1}"})", step));
    CHECK_FALSE(used(Shape::openai, false, "{\"usage\":", step));
    // A stream that ended after its first event did not say what it used.
    CHECK_FALSE(used(Shape::anthropic, true,
                     "data: {\"message\":{\"usage\":{\"input_tokens\":20,\"output_tokens\":1}}}\n\n", step));
    // What it does not say in whole numbers it does not say, and a sum may hold more than its parts.
    for (const char* odd :
         {"{}", R"({"prompt_tokens":"37"})", R"({"prompt_tokens":37.5,"completion_tokens":1})", R"({"x":1})"}) {
      CHECK_FALSE(used(Shape::openai, false, R"({"usage":)" + std::string(odd) + "}", step));
    }
    const auto sum = used(Shape::openai, false,
                          R"({"usage":{"prompt_tokens":37,"completion_tokens":530,"total_tokens":800}})", step);
    REQUIRE(sum);
    CHECK((sum->input == 37 && sum->output == 763));
    CHECK_FALSE(used(Shape::opaque, false, R"({"usage":{"prompt_tokens":10}})", step));
  }
  CHECK_FALSE(used(Shape::openai, false, R"({"usage":{"prompt_tokens":10}})" + std::string(5 << 20, ' '), 65536));
}

TEST_CASE("prices: the dearest that fits, rounded up; an unknown model has none") {
  const auto metering = provider::metering_of("openai", "");
  CHECK(metering.shape == Shape::openai);
  REQUIRE(metering.price_of("gpt-5"));
  CHECK_FALSE(metering.price_of("gpt-unheard-of"));
  const provider::Metering two{Shape::openai, {{"a-large*", {1, 2}}, {"a-large-1", {3, 9}}}};
  CHECK(two.price_of("a-large-1")->rates.output == 9);
  const provider::Metering versions{Shape::openai, {{"m-mini*", {1, 2}}, {"exact", {1, 2}}}};
  for (const char* same : {"m-mini", "m-mini-2024-07-18", "m-mini-latest", "m-mini-preview-09-2025", "exact"}) {
    INFO(same);
    CHECK(versions.price_of(same));
  }
  for (const char* other :
       {"m-mini-search-preview", "m-mini:online", "m-mini@preset/x", "m-mini-large", "m", "exact-1"}) {
    INFO(other);
    CHECK_FALSE(versions.price_of(other));
  }
  CHECK(provider::cost_of({1, 0, 0}, {"m", {0.25, 1}}) == 1);
  CHECK(provider::cost_of({1000, 100, 0}, {"m", {2, 10}}) == 3000);
  CHECK(provider::cost_of({1000, 100, 500}, {"m", {2, 10}}) == 4000);
  // What is read from a cache has a price of its own, or the usual one; long requests have another.
  CHECK(provider::cost_of({1000, 100, 0, 900}, {"m", {2, 10, 0.2}}) == 200 + 180 + 1000);
  CHECK(provider::cost_of({1000, 100, 0, 900}, {"m", {2, 10}}) == 3000);
  CHECK(provider::cost_of({1000, 100, 900, 900}, {"m", {2, 10, 0.2}}) == 3600 + 20 + 1000);
  const provider::Price tiers{"m", {2, 10, 0.2}, 1000, {4, 15, 0.4}};
  CHECK(provider::cost_of({1000, 100, 0, 0}, tiers) == 3000);
  CHECK(provider::cost_of({1001, 100, 0, 1}, tiers) == 5501);
  CHECK(provider::cost_of({~std::uint64_t{0}, ~std::uint64_t{0}, 0, 0}, {"m", {2, 10}}) == 1'000'000'000'000'000);
  CHECK(provider::metering_of("github", "").shape == Shape::none);
  CHECK(provider::metering_of("unheard-of", "").shape == Shape::none);
}
