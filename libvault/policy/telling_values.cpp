#include "policy/telling_values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "policy/witness.hpp"

namespace agentvault::policy {
namespace {

void add_unique(std::vector<Choice>& choices, std::vector<std::vector<Match>>& seen, Choice choice,
                std::vector<Match> answers) {
  if (std::find(seen.begin(), seen.end(), answers) != seen.end()) return;
  seen.push_back(std::move(answers));
  choices.push_back(std::move(choice));
}

/// Plain, as match_text() reads them.
std::string number_text(double number) {
  char text[1200];  // the smallest number has that many digits
  const auto end = std::to_chars(text, text + sizeof text, number, std::chars_format::fixed);
  return {text, end.ptr};
}

/// Between two borders: a whole number where there is one.
double between(double low, double high) {
  const double whole = std::floor(low) + 1;
  if (whole > low && whole < high) return whole;
  const double middle = low + (high - low) / 2;
  return middle > low && middle < high ? middle : std::nextafter(low, high);
}

/// All borders, and one number of each stretch between, before and behind them: nothing else tells values apart.
std::vector<double> telling_numbers(const std::vector<const Values*>& all) {
  std::set<double> borders;
  for (const auto* values : all) {
    borders.insert(values->numbers.begin(), values->numbers.end());
    if (values->least) borders.insert(*values->least);
    if (values->most) borders.insert(*values->most);
  }
  if (borders.empty()) return {};
  constexpr double most = std::numeric_limits<double>::max();
  const double first = *borders.begin();
  const double last = *borders.rbegin();
  std::vector<double> numbers(borders.begin(), borders.end());
  if (first > -most) numbers.push_back(std::max(-most, first - std::max(1.0, std::abs(first))));
  if (last < most) numbers.push_back(std::min(most, last + std::max(1.0, std::abs(last))));
  for (auto border = borders.begin(); std::next(border) != borders.end(); ++border) {
    numbers.push_back(between(*border, *std::next(border)));
  }
  return numbers;
}

/// Whether the pattern has texts like this one among others, so that one witness for it does not stand for all.
bool mixes_with(const std::string& glob, std::string_view letters) {
  return glob != "*" && glob.find('*') != std::string::npos && std::all_of(glob.begin(), glob.end(), [&](char c) {
           return c == '*' || letters.find(c) != std::string_view::npos;
         });
}

/// Texts that are numbers, or flags, are both: where patterns cut through them, not all combinations are tried.
bool cuts_through(const std::vector<const Values*>& all, const std::vector<std::string>& globs) {
  const bool numbers = std::any_of(all.begin(), all.end(), [](const auto* values) {
    return !values->numbers.empty() || values->least || values->most;
  });
  const bool flags = std::any_of(all.begin(), all.end(), [](const auto* values) { return !values->flags.empty(); });
  return std::any_of(globs.begin(), globs.end(), [&](const auto& glob) {
    return (numbers && mixes_with(glob, "0123456789.-")) || (flags && mixes_with(glob, "truefalse"));
  });
}

}  // namespace

std::vector<Choice> telling_choices(const std::vector<const Values*>& all, bool is_json, bool& complete) {
  std::vector<Choice> choices;
  std::vector<std::vector<Match>> seen;
  const auto add = [&](const Choice& choice, auto answer) {
    std::vector<Match> answers;
    for (const auto* values : all) answers.push_back(answer(*values));
    add_unique(choices, seen, choice, std::move(answers));
  };
  const auto add_text = [&](const std::string& text) {
    add({Choice::Kind::text, text, 0, false},
        [&](const Values& values) { return is_json ? values.match(Scalar(text)) : values.match_text(text); });
  };
  std::vector<std::string> globs;
  for (const auto* values : all) globs.insert(globs.end(), values->texts.begin(), values->texts.end());
  const auto witnesses = text_witnesses(globs);
  complete = complete && witnesses.complete && (is_json || !cuts_through(all, globs));
  for (const auto& witness : witnesses.all) add_text(witness.text);
  for (const double number : telling_numbers(all)) {
    if (is_json) {
      add({Choice::Kind::number, "", number, false},
          [&](const Values& values) { return values.match(Scalar(number)); });
    } else {
      add_text(number_text(number));
    }
  }
  for (const bool flag : {true, false}) {
    if (is_json) {
      add({Choice::Kind::flag, "", 0, flag}, [&](const Values& values) { return values.match(Scalar(flag)); });
    } else {
      add_text(flag ? "true" : "false");
    }
  }
  // Whether it is there at all can count by itself: never as another one that the values answer alike.
  choices.push_back({});
  add({Choice::Kind::odd, "", 0, false}, [](const Values&) { return Match::unknown; });
  return choices;
}

}  // namespace agentvault::policy
