#include "block.h"

#include <sys/mman.h>

#include <new>
#include <stdexcept>
#include <string>

namespace fqt::cuda::emulator {
namespace {

constexpr int warp_size = 32;
constexpr size_t stack_bytes = 64 << 10;

}  // namespace

Block::Block(int threads) : fibers_(static_cast<size_t>(threads)) {
  stacks_ = mmap(nullptr, stack_bytes * fibers_.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stacks_ == MAP_FAILED) throw std::bad_alloc();
}

Block::~Block() { munmap(stacks_, stack_bytes * fibers_.size()); }

// makecontext hands over ints alone.
void Block::enter(unsigned high, unsigned low) {
  auto* block = reinterpret_cast<Block*>(static_cast<uintptr_t>(high) << 32 | low);
  Fiber& self = block->fibers_[static_cast<size_t>(block->current_)];
  try {
    (*block->body_)(block->current_);
  } catch (...) {
    self.error = std::current_exception();
  }
  block->wait(State::ended);
}

// Back to the scheduler. _setjmp keeps registers only; swapcontext would ask the kernel for the signal mask each time.
void Block::wait(State state) {
  Fiber& self = fibers_[static_cast<size_t>(current_)];
  self.state = state;
  if (_setjmp(self.place) == 0) _longjmp(scheduler_, 1);
}

void Block::exchange(Exchange together, void* brought) {
  Fiber& self = fibers_[static_cast<size_t>(current_)];
  self.together = together;
  self.brought = brought;
  wait(State::at_exchange);
}

void Block::resume(int thread) {
  Fiber& fiber = fibers_[static_cast<size_t>(thread)];
  current_ = thread;
  if (_setjmp(scheduler_) == 0) {
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.start);
  }
  if (fiber.error) std::rethrow_exception(fiber.error);
}

bool Block::all(int first, int count, State state) const {
  for (int i = first; i < first + count; ++i) {
    if (fibers_[static_cast<size_t>(i)].state != state) return false;
  }
  return true;
}

void Block::exchange_warp(int first) {
  void* brought[warp_size];
  const Exchange together = fibers_[static_cast<size_t>(first)].together;
  for (int lane = 0; lane < warp_size; ++lane) {
    Fiber& fiber = fibers_[static_cast<size_t>(first + lane)];
    if (fiber.together != together) throw std::runtime_error("the lanes of a warp exchange different things");
    brought[lane] = fiber.brought;
    fiber.state = State::ready;
  }
  together(brought);
}

// Runs a warp until its threads wait for others, or have ended; whether it ran at all.
bool Block::run_warp(int first) {
  bool ran = false;
  for (;;) {
    bool any = false;
    for (int i = first; i < first + warp_size; ++i) {
      if (fibers_[static_cast<size_t>(i)].state != State::ready) continue;
      resume(i);
      any = true;
    }
    if (!any) return ran;
    ran = true;
    if (all(first, warp_size, State::at_exchange)) exchange_warp(first);
  }
}

void Block::run(int64_t number, const std::function<void(int)>& body) {
  const int threads = static_cast<int>(fibers_.size());
  const auto self = reinterpret_cast<uintptr_t>(this);
  number_ = number;
  epoch_ = 0;
  body_ = &body;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers_[static_cast<size_t>(i)];
    fiber.state = State::ready;
    fiber.started = false;
    fiber.error = nullptr;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = static_cast<char*>(stacks_) + stack_bytes * static_cast<size_t>(i);
    fiber.start.uc_stack.ss_size = stack_bytes;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, reinterpret_cast<void (*)()>(&Block::enter), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
  }
  while (!all(0, threads, State::ended)) {
    bool ran = false;
    for (int first = 0; first < threads; first += warp_size) ran |= run_warp(first);
    if (all(0, threads, State::at_barrier)) {
      ++epoch_;
      for (Fiber& fiber : fibers_) fiber.state = State::ready;
    } else if (!ran) {
      throw std::runtime_error("block " + std::to_string(number) + ": some threads wait where the others never come");
    }
  }
}

}  // namespace fqt::cuda::emulator
