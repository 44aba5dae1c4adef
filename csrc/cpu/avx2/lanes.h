// Blocks of 32 channels in the bytes of a vector, and their bits as indices of table look-ups.
//
// Channel c of a block stands in byte 2c if c < 16, else in byte 2(c - 16) + 1. So the even bytes, widened to 16 bits, are
// channels 0 .. 15 in order, and the odd bytes are channels 16 .. 31.
#pragma once

#include <immintrin.h>

#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 32;

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// Has a value in a register at this point: compilers neither load it again later nor put off the additions that lead to it.
inline void keep(__m256i& v) { asm("" : "+x"(v)); }

// The same 16 entries for both halves of a look-up; p is aligned to 16 bytes.
inline __m256i load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

// out[c] += value of channel c << shift, of 16-bit values of channels 0 .. 15 and 16 .. 31.
inline void add_to_channels(__m256i first, __m256i second, int shift, int32_t* out) {
  const __m128i places = _mm_cvtsi32_si128(shift);
  const auto add = [&](__m128i half, int32_t* to) {
    store(to, _mm256_add_epi32(load(to), _mm256_sll_epi32(_mm256_cvtepu16_epi32(half), places)));
  };
  add(_mm256_castsi256_si128(first), out);
  add(_mm256_extracti128_si256(first, 1), out + 8);
  add(_mm256_castsi256_si128(second), out + 16);
  add(_mm256_extracti128_si256(second, 1), out + 24);
}

// Bits of half a word (32 channels) in lane order: -1 where the bit is set, else 0.
inline __m256i spread_bits(const uint8_t* half) {
  int32_t bits;
  std::memcpy(&bits, half, sizeof(bits));
  const __m256i byte = _mm256_setr_epi8(0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2,  //
                                        1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3);
  const __m256i bit = _mm256_setr_epi16(0x0101, 0x0202, 0x0404, 0x0808, 0x1010, 0x2020, 0x4040, static_cast<short>(0x8080),
                                        0x0101, 0x0202, 0x0404, 0x0808, 0x1010, 0x2020, 0x4040, static_cast<short>(0x8080));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte);
  return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
}

// What four words at a time, `stride` words apart, say of the 32 channels whose bits begin at byte `half`: for each step of
// four words and each channel, an index with the first word's bit lowest. Words past `count` count as 0. The number of set bits
// of each channel is added to `ones`.
inline void expand_indices(const uint64_t* words, int64_t stride, int64_t count, int64_t half, uint8_t* indices,
                           int32_t* ones) {
  constexpr int64_t steps_per_sum = 63;  // 63 * 4 fits a byte
  const __m256i bits_of = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const uint8_t* in = reinterpret_cast<const uint8_t*>(words) + half;
  const int64_t row = stride * 8;
  for (int64_t first = 0; first < count; first += 4 * steps_per_sum) {
    const int64_t end = smaller(count, first + 4 * steps_per_sum);
    __m256i sum = _mm256_setzero_si256();
    for (int64_t i = first; i < end; i += 4) {
      __m256i index = _mm256_setzero_si256();
      for (int64_t j = smaller(i + 4, end); j-- > i;) {
        index = _mm256_sub_epi8(_mm256_add_epi8(index, index), spread_bits(in + j * row));
      }
      store(indices + i / 4 * lanes, index);
      sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(bits_of, index));
    }
    add_to_channels(_mm256_and_si256(sum, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(sum, 8), 0, ones);
  }
}

}  // namespace
}  // namespace fqt
