// What searching responses costs, and whether its time tells anything about a secret: the same text size with guesses
// that share more and more of the secret's first bytes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "base/crypto.hpp"
#include "scrub/scrubber.hpp"

using namespace agentvault;
using namespace agentvault::scrub;

namespace {

constexpr std::size_t kTextSize = std::size_t{4} << 20;
constexpr int kRounds = 41;

double seconds(const Needles& needles, const std::string& text) {
  const auto began = std::chrono::steady_clock::now();
  Scrubber scrubber(needles);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += 16384) {
    out.clear();
    scrubber.feed(as_bytes(text).subspan(at, std::min<std::size_t>(16384, text.size() - at)), out);
  }
  scrubber.finish(out);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::string random_text(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, ' ');
  for (auto& c : text) c = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_\n"[random() % 65];
  return text;
}

}  // namespace

int main() {
  const std::string text = random_text(kTextSize, 1);
  for (const std::size_t count : {0U, 1U, 10U, 50U}) {
    Needles needles;
    for (std::size_t i = 0; i < count; ++i) {
      needles.add(i, SecretBytes::copy_of(as_bytes(random_text(51, 100 + static_cast<unsigned>(i)))));
    }
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) times.push_back(seconds(needles, text));
    std::printf("scrubbing with %2zu secrets: %6.0f MiB/s, %.2f ns a byte\n", count,
                static_cast<double>(kTextSize >> 20) / median(times),
                median(times) * 1e9 / static_cast<double>(kTextSize));
  }

  const std::string secret = random_text(48, 7);
  Needles needles;
  needles.add(0, SecretBytes::copy_of(as_bytes(secret)));
  // A guess a line, each with the first `shared` bytes of the secret; interleaved, so that drift hits all alike.
  std::vector<std::string> guesses;
  for (std::size_t shared = 0; shared < Needles::kShortest; ++shared) {
    std::mt19937 random(static_cast<unsigned>(shared));
    std::string lines;
    while (lines.size() < kTextSize) {
      lines += secret.substr(0, shared) + random_text(Needles::kShortest * 2 - shared, static_cast<unsigned>(random()));
    }
    lines.resize(kTextSize);
    guesses.push_back(std::move(lines));
  }
  std::vector<std::vector<double>> times(guesses.size());
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < guesses.size(); ++i) times[i].push_back(seconds(needles, guesses[i]));
  }
  const double base = median(times[0]);
  std::printf("time with the first n bytes of the secret guessed right, relative to none:");
  for (std::size_t i = 0; i < times.size(); ++i) std::printf(" %zu:%.3f", i, median(times[i]) / base);
  // What chance alone does: the halves of one series against each other.
  const std::vector<double> first(times[0].begin(), times[0].begin() + kRounds / 2);
  const std::vector<double> second(times[0].begin() + kRounds / 2, times[0].end());
  std::printf("\nthe same text against itself, two halves of the run: %.3f\n", median(second) / median(first));
  return 0;
}
