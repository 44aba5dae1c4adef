// What kernels ask of the pool of threads (csrc/cpu/pool.h), by itself: test_pool.py builds it with a sanitizer. Ends with the number of
// the first check that fails.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../csrc/cpu/pool.h"

namespace {

template <typename Function>
void run(int64_t threads, int64_t count, int64_t least, Function function, int64_t enough = 0) {
  fqt::run_in_pool(
      threads, count, least, enough,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<Function*>(context))(begin, end); }, &function);
}

// Numbers that no atomic guards: two threads that took the same item would race.
bool each_once(int64_t threads, int64_t count, int64_t least) {
  std::vector<int> taken(static_cast<size_t>(count), 0);
  std::atomic<bool> small{false};
  run(threads, count, least, [&](int64_t begin, int64_t end) {
    if (begin < 0 || begin >= end || end > count) small = true;
    for (int64_t i = begin; i < end; ++i) ++taken[static_cast<size_t>(i)];
  });
  for (const int times : taken) {
    if (times != 1) return false;
  }
  return !small;
}

bool many() {
  for (int64_t threads = 1; threads <= 5; ++threads) {
    for (int64_t count = 0; count <= 70; count += count < 9 ? 1 : 7) {
      for (const int64_t least : {0, 1, 4, 100}) {
        for (int again = 0; again < 8; ++again) {
          if (!each_once(threads, count, least)) return false;
        }
      }
    }
  }
  return true;
}

// With pauses after which helpers sleep.
bool rare() {
  for (int again = 0; again < 30; ++again) {
    std::this_thread::sleep_for(std::chrono::microseconds(again * 200));
    if (!each_once(3, 1000, 1)) return false;
  }
  return true;
}

// Work for which no helper is to be woken is shared with those that are awake, which one is for a moment after other work. Where
// something else has its core, it comes later, or sleeps later: so what has to happen some time has a while for it.
bool by_who_is_awake() {
  const auto is_helped = [](std::chrono::milliseconds pause) {
    const std::thread::id own = std::this_thread::get_id();
    std::atomic<bool> other{false};
    run(2, 100, 1, [](int64_t, int64_t) {});
    std::this_thread::sleep_for(pause);
    run(
        2, 100, 1,
        [&](int64_t, int64_t) {
          if (std::this_thread::get_id() != own) other = true;
          std::this_thread::sleep_for(std::chrono::microseconds(100));
        },
        100);
    return other.load();
  };
  const auto happens = [&](bool wanted, std::chrono::milliseconds pause) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < end) {
      if (is_helped(pause) == wanted) return true;
    }
    return false;
  };
  return happens(true, std::chrono::milliseconds(0)) && happens(false, std::chrono::milliseconds(20));
}

bool within() {
  std::vector<int> taken(64, 0);
  run(3, 8, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      run(3, 8, 1, [&](int64_t first, int64_t last) {
        for (int64_t j = first; j < last; ++j) ++taken[static_cast<size_t>(8 * i + j)];
      });
    }
  });
  for (const int times : taken) {
    if (times != 1) return false;
  }
  return true;
}

bool at_the_same_time() {
  std::atomic<bool> right{true};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int again = 0; again < 300; ++again) {
        if (!each_once(3, 50, 1)) right = false;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  return right;
}

// By whichever thread, the caller gets it, once, and nothing stays behind.
bool fails() {
  for (int again = 0; again < 50; ++again) {
    for (int64_t bad = 0; bad < 40; bad += 13) {
      bool thrown = false;
      try {
        run(4, 40, 1, [&](int64_t begin, int64_t end) {
          if (begin <= bad && bad < end) throw std::runtime_error("bad");
        });
      } catch (const std::runtime_error& error) {
        thrown = std::strcmp(error.what(), "bad") == 0;
      }
      if (!thrown || !each_once(4, 40, 1)) return false;
    }
  }
  return true;
}

bool after_a_fork() {
  const pid_t child = fork();
  if (child == 0) _exit(each_once(3, 1000, 1) ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0 && each_once(3, 1000, 1);
}

}  // namespace

int main(int count, char** arguments) {
  const bool forks = count > 1 && std::strcmp(arguments[1], "fork") == 0;
  bool (*const checks[])() = {many, rare, by_who_is_awake, within, at_the_same_time, fails, forks ? after_a_fork : rare};
  int number = 0;
  for (const auto check : checks) {
    ++number;
    if (!check()) return number;
  }
  return 0;
}
