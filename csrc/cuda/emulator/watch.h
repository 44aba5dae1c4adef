// Watches an array: each access lies within it, and no two threads touch the same element, one of them writing, unless a barrier
// of their block stands between them. Atomic additions may meet each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fqt::cuda::emulator {

// Who accesses: a thread, and the number of barriers that its block has passed.
struct Visitor {
  int64_t block = -1;
  int thread = -1, epoch = 0;
};

class Watch {
 public:
  // `initialised`: whether the elements may be read before anyone has written them. `what` names the array in messages.
  Watch(int64_t count, bool initialised, const char* what) : cells_(static_cast<size_t>(count)), initialised_(initialised), what_(what) {}

  // Each throws std::runtime_error.
  void read(const Visitor& who, int64_t i);
  void write(const Visitor& who, int64_t i);
  void add(const Visitor& who, int64_t i);

 private:
  struct Cell {
    Visitor writer, reader;
    bool atomic = false;          // what the writer did
    bool read_by_many = false;    // by several threads of the reader's block in its epoch
    bool read_by_blocks = false;  // by several blocks
  };
  Cell& cell(const Visitor& who, int64_t i, const char* verb);
  void check_writer(const Cell& cell, const Visitor& who, int64_t i, const char* verb) const;
  void check_readers(const Cell& cell, const Visitor& who, int64_t i, const char* verb) const;
  [[noreturn]] void refuse(const Visitor& who, const char* verb, int64_t i, const char* why) const;

  std::vector<Cell> cells_;
  bool initialised_;
  const char* what_;
};

}  // namespace fqt::cuda::emulator
