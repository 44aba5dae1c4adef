#include "pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace fqt {
namespace {

using Clock = std::chrono::steady_clock;

// What a training step does on one thread between two pieces of work takes up to 1.5 ms; to wake a thread takes some 50 µs.
constexpr std::chrono::microseconds looking{3000};
// From here on, who looks lets others run in between: perhaps the one that it waits for.
constexpr std::chrono::microseconds alone{50};

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits, on its core, until `done`, or until the time is over; whether it is done.
template <typename Done>
bool look(Done done, std::chrono::microseconds most) {
  const auto begin = Clock::now();
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      relax();
    }
    const auto waited = Clock::now() - begin;
    if (waited > most) return done();
    if (waited > alone) std::this_thread::yield();
  }
}

thread_local bool working = false;

class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void run(int64_t threads, int64_t count, int64_t least, int64_t enough, Threads::Body body, void* context) {
    const std::unique_lock<std::mutex> mine(owner_, std::try_to_lock);
    if (!mine.owns_lock()) return body(context, 0, count);
    if (count <= enough && (helpers_ < threads - 1 || sleeping_.load() > 0)) return body(context, 0, count);
    threads = 1 + start_helpers(threads - 1);
    if (threads == 1) return body(context, 0, count);
    prepare(threads, count, least, body, context);
    ticket_.store(ticket_.load(std::memory_order_relaxed) + 1);
    if (sleeping_.load() > 0) {
      { const std::lock_guard<std::mutex> lock(sleep_); }  // none is between its last look and its sleep
      wake_.notify_all();
    }
    work(0);
    ticket_.store(ticket_.load(std::memory_order_relaxed) + 1);
    const auto nobody = [this] { return helping_.load() == 0; };
    while (!look(nobody, looking)) continue;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // What is left of a thread's range.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  // How many helpers there are of those that are wanted.
  int64_t start_helpers(int64_t wanted) {
    while (helpers_ < wanted) {
      // Signals are for the program's own threads, but for those that a thread's own mistake raises.
      sigset_t others, before;
      sigfillset(&others);
      for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&others, own);
      pthread_sigmask(SIG_SETMASK, &others, &before);
      bool started = true;
      try {
        std::thread([this, number = helpers_ + 1] { help(number); }).detach();
      } catch (const std::system_error&) {  // the system has no more threads
        started = false;
      }
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (!started) break;
      ++helpers_;
    }
    return std::min(helpers_, wanted);
  }

  void prepare(int64_t threads, int64_t count, int64_t least, Threads::Body body, void* context) {
    if (threads > room_) {
      shares_ = std::make_unique<Share[]>(static_cast<size_t>(threads));
      room_ = threads;
    }
    for (int64_t i = 0; i < threads; ++i) {
      shares_[static_cast<size_t>(i)].next.store(count * i / threads, std::memory_order_relaxed);
      shares_[static_cast<size_t>(i)].end = count * (i + 1) / threads;
    }
    threads_ = threads;
    least_ = std::max<int64_t>(least, 1);
    body_ = body;
    context_ = context;
  }

  // Takes pieces until there are none.
  void work(int64_t own) {
    working = true;
    try {
      for (int64_t i = 0; i < threads_; ++i) empty(shares_[static_cast<size_t>((own + i) % threads_)]);
    } catch (...) {
      for (int64_t i = 0; i < threads_; ++i) shares_[static_cast<size_t>(i)].next.store(shares_[static_cast<size_t>(i)].end);
      const std::lock_guard<std::mutex> lock(failed_);
      if (!error_) error_ = std::current_exception();
    }
    working = false;
  }

  void empty(Share& share) {
    int64_t begin = share.next.load(std::memory_order_relaxed);
    while (begin < share.end) {
      const int64_t rest = share.end - begin, end = begin + std::min(rest, std::max(least_, (3 * rest + 3) / 4));
      if (!share.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      body_(context_, begin, end);
      begin = share.next.load(std::memory_order_relaxed);
    }
  }

  // What a helper does for as long as the process lives.
  void help(int64_t number) {
    uint64_t seen = 0;
    for (;;) {
      seen = new_work(seen);
      // Either the caller sees that it is being helped, or this sees that the work is over: both are in one order.
      helping_.fetch_add(1);
      if (ticket_.load() == seen && number < threads_) work(number);
      helping_.fetch_sub(1);
    }
  }

  // Waits for a ticket of work that was not seen yet.
  uint64_t new_work(uint64_t seen) {
    uint64_t ticket = 0;
    const auto is_there = [&] {
      ticket = ticket_.load();
      return ticket % 2 == 1 && ticket != seen;
    };
    if (look(is_there, looking)) return ticket;
    std::unique_lock<std::mutex> lock(sleep_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, is_there);
    sleeping_.fetch_sub(1);
    return ticket;
  }

  std::mutex owner_;
  std::atomic<uint64_t> ticket_{0};  // odd while there is work
  std::atomic<int64_t> helping_{0}, sleeping_{0};
  std::mutex sleep_, failed_;
  std::condition_variable wake_;
  int64_t helpers_ = 0;

  // Of the work at hand; helpers look at it after they have seen its ticket, while `helping_` counts them.
  std::unique_ptr<Share[]> shares_;
  int64_t room_ = 0, threads_ = 0, least_ = 1;
  Threads::Body body_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
};

std::atomic<Pool*> the_pool{nullptr};

// Never destroyed, for helpers may look at it until the process ends.
Pool& pool() {
  Pool* known = the_pool.load();
  if (known != nullptr) return *known;
  static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });  // helpers stay behind
  static_cast<void>(registered);
  auto made = std::make_unique<Pool>();
  if (the_pool.compare_exchange_strong(known, made.get())) return *made.release();
  return *known;
}

}  // namespace

void run_in_pool(int64_t threads, int64_t count, int64_t least, int64_t enough, Threads::Body body, void* context) {
  if (count <= 0) return;
  if (threads <= 1 || working) return body(context, 0, count);
  pool().run(threads, count, least, enough, body, context);
}

}  // namespace fqt
