// Rows of bytes, 4 at a time.
#pragma once

#include "device.h"

namespace fqt::cuda {

// Four bytes of which `byte(i)` is the i-th.
template <typename Byte>
FQT_DEVICE uint32_t quad_of(Byte byte) {
  uint32_t quad = 0;
FQT_UNROLL
  for (int i = 0; i < 4; ++i) quad |= static_cast<uint32_t>(static_cast<uint8_t>(byte(i))) << (8 * i);
  return quad;
}

template <typename T>
struct ByteRows {
  GlobalArray<const T> bytes;
  GlobalArray<const uint32_t> quads;  // the same, if rows begin where words do
  int64_t length;

  ByteRows(const T* data, int64_t rows, int64_t length_) : bytes(data, rows * length_), length(length_) {
    const bool aligned = length % 4 == 0 && reinterpret_cast<uintptr_t>(data) % 4 == 0;
    quads = {aligned ? reinterpret_cast<const uint32_t*>(data) : nullptr, rows * length / 4};
  }

  FQT_HOST_DEVICE int words() const { return static_cast<int>((length + 3) / 4); }
  // 0 past the row's end.
  FQT_DEVICE uint32_t load(const Thread& t, int64_t row, int64_t word) const {
    if (quads) return quads.load(t, row * (length / 4) + word);
    return quad_of([&](int i) -> T { return word * 4 + i < length ? bytes.load(t, row * length + word * 4 + i) : T{0}; });
  }
};

}  // namespace fqt::cuda
