// 32 bytes in a vector, for products by table look-up (lookup/lanes.h says which channel stands where).
#pragma once

#include <immintrin.h>

#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 32;

using Lanes = __m256i;
using Table = __m256i;  // the same 16 entries in both halves
using Codes = __m128i;

inline Lanes zero() { return _mm256_setzero_si256(); }
inline Lanes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, Lanes v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// Has a value in a register at this point: compilers neither load it again later nor put off the additions that lead to it.
inline void keep(Lanes& v) { asm("" : "+x"(v)); }

inline Lanes add_bytes(Lanes a, Lanes b) { return _mm256_add_epi8(a, b); }
inline Lanes subtract_bytes(Lanes a, Lanes b) { return _mm256_sub_epi8(a, b); }
inline Lanes larger_bytes(Lanes a, Lanes b) { return _mm256_max_epu8(a, b); }

// p is aligned to 16 bytes.
inline Table load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Lanes look_up(Table table, Lanes index) { return _mm256_shuffle_epi8(table, index); }

// Bytes with index -1 become 0.
inline Lanes look_up_in_halves(Lanes tables, Lanes index) { return _mm256_shuffle_epi8(tables, index); }
inline Lanes join(Codes low, Codes high) { return _mm256_set_m128i(high, low); }
inline Lanes twice(const int8_t* p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Lanes all(int64_t byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }
inline Lanes low_nibbles(Lanes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
inline Lanes high_nibbles(Lanes v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }

// The first `count` of 16 codes, then zeros; no codes at all if p is null.
inline Codes load_codes(const uint8_t* p, int64_t count) {
  if (p == nullptr) return _mm_setzero_si128();
  if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  alignas(16) uint8_t codes[16] = {};
  std::memcpy(codes, p, static_cast<size_t>(count));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(codes));
}

inline int32_t sum_of_codes(const uint8_t* codes, int64_t count) {
  __m128i sum = _mm_setzero_si128();
  for (int64_t i = 0; i < count; i += 16) {
    sum = _mm_add_epi64(sum, _mm_sad_epu8(load_codes(codes + i, count - i), _mm_setzero_si128()));
  }
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum)));
}

// Sums of 16 bits, in two ways: odd bytes alone, and whole pairs, even + 256 · odd, from which the even ones follow at the end.
inline void add_pairs(Lanes bytes, Lanes& pairs, Lanes& odd) {
  pairs = _mm256_add_epi16(pairs, bytes);
  odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
}
inline Lanes even_sums(Lanes pairs, Lanes odd) { return _mm256_sub_epi16(pairs, _mm256_slli_epi16(odd, 8)); }
inline Lanes even_bytes(Lanes v) { return _mm256_and_si256(v, _mm256_set1_epi16(0xFF)); }
inline Lanes odd_bytes(Lanes v) { return _mm256_srli_epi16(v, 8); }

// out[c] += value of channel c << shift, of 16-bit values of channels 0 .. 15 and 16 .. 31.
inline void add_to_channels(Lanes first, Lanes second, int shift, int32_t* out) {
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
inline Lanes spread_bits(const uint8_t* half) {
  int32_t bits;
  std::memcpy(&bits, half, sizeof(bits));
  const __m256i byte = _mm256_setr_epi8(0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2,  //
                                        1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3);
  const __m256i bit = _mm256_setr_epi16(0x0101, 0x0202, 0x0404, 0x0808, 0x1010, 0x2020, 0x4040, static_cast<short>(0x8080),
                                        0x0101, 0x0202, 0x0404, 0x0808, 0x1010, 0x2020, 0x4040, static_cast<short>(0x8080));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte);
  return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
}

// 2 · sum - total, of eight channels.
inline Lanes products(const int32_t* sums, int32_t total) {
  const __m256i sum = load(sums);
  return _mm256_sub_epi32(_mm256_add_epi32(sum, sum), _mm256_set1_epi32(total));
}

// float(2 · sum - total) · scale + float(constant) · offset, of eight channels.
inline Lanes affine(const int32_t* sums, int32_t total, const float* constants, float scale, float offset) {
  const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(products(sums, total)), _mm256_set1_ps(scale));
  return _mm256_castps_si256(_mm256_add_ps(scaled, _mm256_mul_ps(_mm256_loadu_ps(constants), _mm256_set1_ps(offset))));
}

// Of eight values of 32 bits those whose bit is set, else 0.
inline Lanes where_set(uint8_t bits, Lanes values) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_and_si256(values, _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), bit), bit));
}

}  // namespace
}  // namespace fqt
