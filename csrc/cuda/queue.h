// Where work goes, and how its products are computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fqt::cuda {

// How products are computed: by binary tensor cores (AND, population count), by tensor cores for bytes, or by the population
// count of 64-bit words, which every GPU has.
enum class Path { bits, bytes, words };

// Calls use(std::integral_constant<Path, path>()).
template <typename Use>
void with_path(Path path, Use use) {
  if (path == Path::bits) {
    use(std::integral_constant<Path, Path::bits>());
  } else if (path == Path::bytes) {
    use(std::integral_constant<Path, Path::bytes>());
  } else {
    use(std::integral_constant<Path, Path::words>());
  }
}

// A stream of a GPU (null for the emulator), the path for products, and memory: kernels allocate nothing themselves. What
// `allocate` gives is theirs until the work that was queued with it has ended. What an operation can compute in pieces takes no more
// than `piece_bytes` at a time.
struct Queue {
  void* stream;
  Path path;
  void* (*allocate)(void* owner, size_t bytes);
  void* owner;
  int64_t piece_bytes = 64 << 20;

  template <typename T>
  T* scratch(int64_t count) const {
    return static_cast<T*>(allocate(owner, sizeof(T) * static_cast<size_t>(count)));
  }
};

}  // namespace fqt::cuda
