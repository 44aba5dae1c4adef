// Counting differing bits without an instruction for it: by shifts and masks within each byte, in vectors where the compiler
// has them. Lanes are outputs:
//
//     for each word:   count[d] += bits_per_byte(x ^ w[d])      bytes hold at most 8 per word, so up to 31 words are added
//                                                               before the bytes are summed
#pragma once

#include "../support.h"

namespace fqt {
namespace {

using Words = uint64_t __attribute__((vector_size(16)));

constexpr int64_t lanes = 2, vectors = 4;
constexpr int64_t block = lanes * vectors;  // outputs whose sums are kept in registers
constexpr int64_t words_per_sum = 31;       // 31 * 8 fits a byte

inline Words load_words(const uint64_t* p) {
  Words v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

inline Words bits_per_byte(Words x) {
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
}

inline Words sum_of_bytes(Words x) {
  x = (x & 0x00FF00FF00FF00FF) + (x >> 8 & 0x00FF00FF00FF00FF);
  x = x + (x >> 16);
  return (x + (x >> 32)) & 0xFFFF;
}

// Numbers of differing bits of `words` words of x and of `block` outputs, whose weights for word i stand at places[i].
inline void differing_bits(const uint64_t* x, const uint64_t* weight, const int64_t* places, int64_t words,
                           uint64_t* counts) {
  Words sums[vectors] = {};
  for (int64_t i = 0; i < words; i += words_per_sum) {
    Words b0{}, b1{}, b2{}, b3{};  // named, so that they stay in registers
    const int64_t end = smaller(words, i + words_per_sum);
    for (int64_t j = i; j < end; ++j) {
      const Words v = Words{} + x[j];
      const uint64_t* w = weight + places[j];
      b0 += bits_per_byte(v ^ load_words(w));
      b1 += bits_per_byte(v ^ load_words(w + lanes));
      b2 += bits_per_byte(v ^ load_words(w + 2 * lanes));
      b3 += bits_per_byte(v ^ load_words(w + 3 * lanes));
    }
    sums[0] += sum_of_bytes(b0);
    sums[1] += sum_of_bytes(b1);
    sums[2] += sum_of_bytes(b2);
    sums[3] += sum_of_bytes(b3);
  }
  std::memcpy(counts, sums, sizeof(sums));
}

}  // namespace
}  // namespace fqt
