// Memory for bodies that are read before their requests are judged. A part of it is kept for the session's own agent:
// its sub-agents, and whoever shows no token, must not shut it out.
#pragma once

#include <cstddef>

namespace agentvault::broker {

class BodyRoom {
 public:
  static constexpr std::size_t kMost = std::size_t{32} << 20;
  static constexpr std::size_t kMostOfOthers = kMost / 2;

  /// What one request holds; given back at its end.
  class Share {
   public:
    explicit Share(BodyRoom& room) : room_(room) {}
    ~Share() { give_back(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    /// For a new request, after what the last one held was given back.
    void begin(bool agents_own) {
      give_back();
      agents_own_ = agents_own;
    }
    /// False: that is more than there is; it is held until it is given back, all the same.
    bool take(std::size_t bytes) {
      held_ += bytes;
      room_.held_ += bytes;
      if (!agents_own_) room_.held_by_others_ += bytes;
      return room_.held_ <= kMost && (agents_own_ || room_.held_by_others_ <= kMostOfOthers);
    }
    void give_back() {
      room_.held_ -= held_;
      if (!agents_own_) room_.held_by_others_ -= held_;
      held_ = 0;
    }

   private:
    BodyRoom& room_;
    bool agents_own_ = false;
    std::size_t held_ = 0;
  };

 private:
  std::size_t held_ = 0;
  std::size_t held_by_others_ = 0;
};

}  // namespace agentvault::broker
