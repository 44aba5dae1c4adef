// Where work goes, and how its products are computed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fqt::cuda {

// How products are computed: by binary tensor cores (AND, population count), by tensor cores for bytes, or by the population
// count of 64-bit words, which every GPU has.
enum class Path { bits, bytes, words };

// A stream of a GPU (null for the emulator), the path for products, and memory: kernels allocate nothing themselves. What
// `allocate` gives is theirs until the work that was queued with it has ended.
struct Queue {
  void* stream;
  Path path;
  void* (*allocate)(void* owner, size_t bytes);
  void* owner;

  template <typename T>
  T* scratch(int64_t count) const {
    return static_cast<T*>(allocate(owner, sizeof(T) * static_cast<size_t>(count)));
  }
};

}  // namespace fqt::cuda
