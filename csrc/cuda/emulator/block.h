// Runs the threads of a block as fibers of one thread of the CPU. A fiber gives way where a GPU's thread would wait: at a barrier,
// which all threads of the block must reach, and where the lanes of a warp exchange values, which all 32 of them must.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include "watch.h"

namespace fqt::cuda::emulator {

// What the lanes of a warp do together: takes what each of the 32 has brought.
using Exchange = void (*)(void* const* lanes);

class Block {
 public:
  explicit Block(int threads);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Runs body(thread) for all threads, as block `number` of a launch. Throws what a thread throws, and std::runtime_error for
  // threads that wait in vain.
  void run(int64_t number, const std::function<void(int)>& body);

  // Called by the thread that runs.
  void barrier() { wait(State::at_barrier); }
  void exchange(Exchange together, void* brought);
  Visitor visitor() const { return {number_, current_, epoch_}; }

 private:
  enum class State { ready, at_barrier, at_exchange, ended };
  struct Fiber {
    ucontext_t start;
    jmp_buf place;
    State state;
    bool started;
    Exchange together;
    void* brought;
    std::exception_ptr error;
  };

  static void enter(unsigned high, unsigned low);
  void wait(State state);
  void resume(int thread);
  bool run_warp(int first);
  void exchange_warp(int first);
  bool all(int first, int count, State state) const;

  std::vector<Fiber> fibers_;
  void* stacks_;
  const std::function<void(int)>* body_ = nullptr;
  jmp_buf scheduler_;
  int64_t number_ = 0;
  int current_ = 0, epoch_ = 0;
};

}  // namespace fqt::cuda::emulator
