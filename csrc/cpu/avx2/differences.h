// Differing bits by table look-up: the arithmetic of the forward product.
//
// Four bits of x choose one of 16 constant tables, popcount(x XOR index), which one instruction looks up for 32 outputs, with
// four bits of each weight as the index.
#pragma once

#include "lanes.h"

namespace fqt {
namespace {

constexpr int64_t steps = 16;  // of four bits, in a word

struct Differences {
  uint8_t count[16][16];

  constexpr Differences() : count() {
    for (int x = 0; x < 16; ++x) {
      for (int w = 0; w < 16; ++w) {
        for (int bit = 0; bit < 4; ++bit) count[x][w] = static_cast<uint8_t>(count[x][w] + ((x ^ w) >> bit & 1));
      }
    }
  }
};

alignas(64) constexpr Differences differences;

// Every four bits as where their table begins, lowest first: 16 bytes for each word.
void expand_input(const uint64_t* x, int64_t words, uint8_t* offsets) {
  const __m128i high_bits = _mm_set1_epi8(static_cast<char>(0xF0));
  for (int64_t i = 0; i < words; ++i) {
    const __m128i word = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + i));
    const __m128i low = _mm_and_si128(_mm_slli_epi16(word, 4), high_bits), high = _mm_and_si128(word, high_bits);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(offsets + i * steps), _mm_unpacklo_epi8(low, high));
  }
}

// A word of each of 32 outputs, those past `outputs` 0, as [four bits][lane]; vectors stand `stride` bytes apart.
void expand_weights(const uint64_t* weight, int64_t words, int64_t outputs, int64_t stride, uint8_t* indices) {
  // Rows of a matrix of 16-bit numbers: byte k of output i below that of output i + 16, for k < 8; rows i and i + 8 share a
  // vector.
  __m256i rows[8];
  const auto word = [&](int64_t d) {
    return d < outputs ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(weight + d * words)) : _mm_setzero_si128();
  };
  const auto pair = [&](int64_t d) { return _mm_unpacklo_epi8(word(d), word(d + 16)); };
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_set_m128i(pair(i + 8), pair(i));
  // Transposed in three steps, each of which joins what stands in twice as many rows.
  __m256i two[8], four[8];
  for (int i = 0; i < 4; ++i) {
    two[2 * i] = _mm256_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
    two[2 * i + 1] = _mm256_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      four[4 * i + 2 * j] = _mm256_unpacklo_epi32(two[4 * i + j], two[4 * i + 2 + j]);
      four[4 * i + 2 * j + 1] = _mm256_unpackhi_epi32(two[4 * i + j], two[4 * i + 2 + j]);
    }
  }
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int byte = 0; byte < 8; ++byte) {
    const __m256i a = four[byte / 2], b = four[4 + byte / 2];
    const __m256i lane_bytes = byte % 2 == 0 ? _mm256_unpacklo_epi64(a, b) : _mm256_unpackhi_epi64(a, b);
    store(indices + 2 * byte * stride, _mm256_and_si256(lane_bytes, nibble));
    store(indices + (2 * byte + 1) * stride, _mm256_and_si256(_mm256_srli_epi16(lane_bytes, 4), nibble));
  }
}

}  // namespace
}  // namespace fqt
