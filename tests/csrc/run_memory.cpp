// What results and kernels ask of the memory that a process keeps (csrc/cpu/memory.h), by itself: test_memory.py builds it with a
// sanitizer. Ends with the number of the first check that fails.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "../../csrc/cpu/arguments.h"
#include "../../csrc/cpu/memory.h"

namespace {

constexpr size_t large = size_t{1} << 20;

// A block that somebody else wrote to does not hold its own number everywhere.
class Marked {
 public:
  Marked(size_t bytes, unsigned char mark) : bytes_(bytes), mark_(mark), data_(static_cast<unsigned char*>(fqt::allocate(bytes, false))) {
    std::memset(data_, mark, bytes);
  }
  ~Marked() { fqt::release(data_); }
  Marked(const Marked&) = delete;
  Marked& operator=(const Marked&) = delete;
  const void* data() const { return data_; }
  // Each byte is as the one before it, in one call: a sanitizer looks at every access of a loop by itself.
  bool whole() const {
    const bool same = bytes_ == 0 || (data_[0] == mark_ && std::memcmp(data_, data_ + 1, bytes_ - 1) == 0);
    return same && reinterpret_cast<uintptr_t>(data_) % 64 == 0;
  }

 private:
  size_t bytes_;
  unsigned char mark_;
  unsigned char* data_;
};

// Also sizes of nothing, and those at which a size's place changes.
bool holds_what_was_asked_for() {
  for (size_t power = 1; power <= large; power *= 2) {
    for (const size_t bytes : {power - 1, power, power + 1, power + power / 8, power + power / 8 + 1}) {
      if (!Marked(bytes, 7).whole()) return false;
    }
  }
  return true;
}

bool clears() {
  for (const size_t bytes : {size_t{100}, large}) {
    { const Marked before(bytes, 255); }
    auto* data = static_cast<unsigned char*>(fqt::allocate(bytes, true));
    bool clear = true;
    for (size_t i = 0; i < bytes; ++i) clear = clear && data[i] == 0;
    fqt::release(data);
    if (!clear) return false;
  }
  return true;
}

bool nothing_is_kept() {
  void* block = fqt::allocate(large, false);
  const fqt::KeptMemory now = fqt::kept_memory();
  fqt::release(block);
  return !fqt::memory_is_kept(large) && now.lent == 0 && now.most_lent == 0 && now.ready == 0;
}

// A block that is older than the store is not its own.
bool begins_to_keep() {
  void* older = fqt::allocate(large, false);
  fqt::keep_memory();
  fqt::release(older);
  fqt::keep_memory();
  return fqt::memory_is_kept(large) && !fqt::memory_is_kept(1000) && fqt::kept_memory().ready == 0;
}

bool the_same_block_again() {
  const void* first = nullptr;
  {
    const Marked block(3 * large, 1);
    first = block.data();
  }
  const size_t ready = fqt::kept_memory().ready;
  const Marked as_large(3 * large, 2);
  if (as_large.data() != first || fqt::kept_memory().ready >= ready) return false;
  const Marked other(3 * large, 3);
  return other.data() != first && as_large.whole();
}

// A block is lent for half its size, but not for less.
bool larger_ones_serve() {
  const void* first = nullptr;
  {
    const Marked block(40 * large, 1);
    first = block.data();
  }
  {
    const Marked half(21 * large, 2);
    if (half.data() != first) return false;
  }
  return Marked(15 * large, 3).data() != first;
}

// A program whose sizes change all the time gets no larger than what it needed at most, and three times that.
bool gives_back() {
  std::mt19937 random(1);
  std::vector<std::pair<void*, size_t>> held;
  for (int step = 0; step < 20000; ++step) {
    if (held.size() < 8 && random() % 2 == 0) {
      const size_t bytes = (size_t{64} << 10) + random() % (4 * large);
      held.emplace_back(fqt::allocate(bytes, false), bytes);
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      fqt::release(held.back().first);
      held.pop_back();
    }
    const fqt::KeptMemory now = fqt::kept_memory();
    size_t least = 0;
    for (const auto& [block, bytes] : held) least += bytes;
    if (now.lent < least || now.most_lent < now.lent || now.ready > 3 * now.most_lent) return false;
  }
  for (const auto& [block, bytes] : held) fqt::release(block);
  return fqt::kept_memory().lent == 0;
}

// Where the system has no more, what lies ready is given up for what is wanted; and what cannot be had is told.
bool gives_up_what_lies_ready() {
  { const Marked block(64 * large, 1); }
  const size_t ready = fqt::kept_memory().ready;
  for (const size_t bytes : {size_t{1} << 60, SIZE_MAX}) {
    try {
      fqt::release(fqt::allocate(bytes, false));
      return false;
    } catch (const std::bad_alloc&) {
      continue;
    }
  }
  return ready >= 64 * large && fqt::kept_memory().ready == 0 && fqt::kept_memory().lent == 0 && Marked(large, 1).whole();
}

bool round_after_round_of_the_same_needs_nothing_new() {
  const auto once = [] {
    const Marked a(5 * large, 1), b(large, 2), c(5 * large, 3);
    { const Marked d(2 * large, 4); }
    const Marked e(large + large / 2, 5);
    return a.whole() && b.whole() && c.whole() && e.whole();
  };
  if (!once()) return false;
  const size_t ready = fqt::kept_memory().ready;
  for (int again = 0; again < 50; ++again) {
    if (!once() || fqt::kept_memory().ready != ready) return false;
  }
  return true;
}

bool by_several_threads() {
  std::atomic<bool> right{true};
  std::vector<std::thread> threads;
  for (unsigned char mark = 1; mark <= 4; ++mark) {
    threads.emplace_back([mark, &right] {
      std::mt19937 random(mark);
      for (int again = 0; again < 300; ++again) {
        const Marked one((size_t{64} << 10) + random() % large, mark), other(random() % 1000, mark);
        std::this_thread::yield();
        if (!one.whole() || !other.whole()) right = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return right;
}

// Even one that begins while another thread has the store.
bool after_a_fork() {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) fqt::release(fqt::allocate(large, false));
  });
  bool right = true;
  for (int again = 0; again < 20 && right; ++again) {
    const pid_t child = fork();
    if (child == 0) _exit(Marked(large, 1).whole() && Marked(9 * large, 2).whole() ? 0 : 1);
    int status = -1;
    right = waitpid(child, &status, 0) == child && status == 0;
  }
  done = true;
  busy.join();
  return right;
}

}  // namespace

int main(int count, char** arguments) {
  using Check = bool (*)();
  std::vector<Check> checks{nothing_is_kept,   holds_what_was_asked_for, clears,       begins_to_keep, holds_what_was_asked_for,
                            clears,            the_same_block_again,     larger_ones_serve, gives_back,        gives_up_what_lies_ready,
                            round_after_round_of_the_same_needs_nothing_new, by_several_threads};
  if (count > 1 && std::strcmp(arguments[1], "fork") == 0) checks.push_back(after_a_fork);
  for (size_t i = 0; i < checks.size(); ++i) {
    if (!checks[i]()) return static_cast<int>(i) + 1;
  }
  return 0;
}
