#include <cstdlib>
#include <cstring>
#include <new>

#include "arguments.h"

namespace fqt {

void* allocate(size_t bytes, bool cleared) {
  constexpr size_t alignment = 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment + alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (cleared) std::memset(memory, 0, rounded);
  return memory;
}

void release(void* memory) noexcept { std::free(memory); }

}  // namespace fqt
