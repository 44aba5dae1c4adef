// Comparisons of 64 floats at once, as bits.
#pragma once

#include <cstdint>
#include <limits>

#if defined(__AVX2__)
#include "intrinsics.h"
#endif

namespace fqt {
namespace {

// Bit i of sign: h[i] >= 0; of window: |h[i]| < 1. NaN has neither.
struct Bits {
  uint64_t sign = 0, window = 0;
};

#if defined(__AVX512F__)

inline Bits bits_of(const float* h) {
  Bits bits;
  for (int i = 0; i < 64; i += 16) {
    const __m512 v = _mm512_loadu_ps(h + i);
    bits.sign |= static_cast<uint64_t>(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GE_OQ)) << i;
    bits.window |= static_cast<uint64_t>(_mm512_cmp_ps_mask(_mm512_abs_ps(v), _mm512_set1_ps(1.0F), _CMP_LT_OQ)) << i;
  }
  return bits;
}

#elif defined(__AVX2__)

inline uint64_t mask_of(__m256 compared) { return static_cast<uint32_t>(_mm256_movemask_ps(compared)); }

inline Bits bits_of(const float* h) {
  Bits bits;
  for (int i = 0; i < 64; i += 8) {
    const __m256 v = _mm256_loadu_ps(h + i), magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0F), v);
    bits.sign |= mask_of(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GE_OQ)) << i;
    bits.window |= mask_of(_mm256_cmp_ps(magnitude, _mm256_set1_ps(1.0F), _CMP_LT_OQ)) << i;
  }
  return bits;
}

#else

// Bit i of the result is flags[i], which is 0 or 1. A product brings eight bytes together in its top byte, a bit each.
inline uint64_t gather_bits(const uint8_t (&flags)[64]) {
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t bytes = 0;
    for (int j = 0; j < 8; ++j) bytes |= static_cast<uint64_t>(flags[8 * i + j]) << (8 * j);
    bits |= (bytes * 0x0102040810204080 >> 56) << (8 * i);
  }
  return bits;
}

inline Bits bits_of(const float* h) {
  uint8_t sign[64], window[64];
  for (int i = 0; i < 64; ++i) {
    sign[i] = h[i] >= 0.0F ? 1 : 0;
    window[i] = h[i] < 1.0F && h[i] > -1.0F ? 1 : 0;
  }
  return {gather_bits(sign), gather_bits(window)};
}

#endif

// Bits of the first `count` of 64 floats; the others get none, and are overwritten.
inline Bits bits_of_some(float* h, int64_t count) {
  for (int64_t i = count; i < 64; ++i) h[i] = std::numeric_limits<float>::quiet_NaN();
  return bits_of(h);
}

}  // namespace
}  // namespace fqt
