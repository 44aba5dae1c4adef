// Philox-4x32-10 as fqt_core/random.py lays out key and counter: the numbers of the reference.
#pragma once

#include "device.h"

namespace fqt::cuda {

// A sequence of numbers.
struct PhiloxKey {
  uint32_t low, high, step, layer, purpose;
};

struct PhiloxBlock {
  uint32_t word[4];
};

FQT_HOST_DEVICE PhiloxBlock philox(const PhiloxKey& key, uint32_t block) {
  uint32_t c0 = block, c1 = key.step, c2 = key.layer, c3 = key.purpose, k0 = key.low, k1 = key.high;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c0, product1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// Numbers of elements of a group, which starts with block `start`; a block is computed once for neighbours that share it.
class Uniform {
 public:
  FQT_HOST_DEVICE Uniform(const PhiloxKey& key, int64_t start) : key_(key), start_(start) {}

  // In [0, 2**24).
  FQT_HOST_DEVICE uint32_t integer(int64_t element) {
    if (element / 4 != at_) {
      at_ = element / 4;
      block_ = philox(key_, static_cast<uint32_t>(start_ + at_));
    }
    // No index that is known at run time only: the words stay in registers.
    const uint32_t low = element % 2 == 0 ? block_.word[0] : block_.word[1];
    const uint32_t high = element % 2 == 0 ? block_.word[2] : block_.word[3];
    return (element % 4 < 2 ? low : high) >> 8;
  }
  // In [0, 1).
  FQT_HOST_DEVICE float number(int64_t element) { return static_cast<float>(integer(element)) * 0x1p-24F; }

 private:
  PhiloxKey key_;
  int64_t start_, at_ = -1;
  PhiloxBlock block_{};
};

}  // namespace fqt::cuda
