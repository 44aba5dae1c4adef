// Signs from bits to bytes of ±1, on their way into tiles. Terms that do not exist become 0.
//
// A row of a right operand is [column][4 terms]. A byte shuffle brings to each of its places the byte of bits in which the sign
// is, and a constant picks the bit.
#pragma once

#include "../intrinsics.h"
#include "block.h"

namespace fqt {
namespace {

constexpr int64_t vector_words = 8;

// 64 signs in order: a row of a left operand.
inline void expand_row(uint64_t word, uint8_t* out) {
  const __m512i signs = _mm512_mask_blend_epi8(_cvtu64_mask64(word), _mm512_set1_epi8(-1), _mm512_set1_epi8(1));
  _mm512_store_si512(out, signs);
}

// Eight words, `stride` apart, of which the first `count` exist; the others are 0.
inline __m512i load_words(const uint64_t* words, int64_t stride, int64_t count) {
  if (count <= 0) return _mm512_setzero_si512();
  const auto present = static_cast<__mmask8>(_bzhi_u32(0xFF, static_cast<uint32_t>(smaller(vector_words, count))));
  if (stride == 1) return _mm512_maskz_loadu_epi64(present, words);
  const __m512i places = _mm512_mullo_epi64(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(stride));
  return _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), present, places, words, sizeof(uint64_t));
}

// Two values for the signs of a row whose first `count` terms exist.
struct Signs {
  __m512i minus, plus;

  explicit Signs(int64_t count) {
    const uint64_t terms = _bzhi_u64(0xF, static_cast<uint64_t>(larger(0, smaller(4, count))));
    const __mmask64 present = _cvtu64_mask64(terms * 0x1111111111111111);
    minus = _mm512_maskz_set1_epi8(present, -1);
    plus = _mm512_maskz_set1_epi8(present, 1);
  }

  __m512i of(__m512i bytes, __m512i bits) const {
    return _mm512_mask_blend_epi8(_mm512_test_epi8_mask(bytes, bits), minus, plus);
  }
};

// A tile of 16 columns: its terms are the bits of a word, of which the first `terms` exist. Each column has a word, `stride`
// apart; `columns` of them exist.
inline void expand_terms(const uint64_t* words, int64_t stride, int64_t columns, int64_t terms, int8_t* out) {
  const __m512i first = load_words(words, stride, columns);
  const __m512i second = load_words(words + vector_words * stride, stride, columns - vector_words);
  const __m512i column = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i word = _mm512_mullo_epi32(column, _mm512_set1_epi32(0x08080808));
  const __m512i low = _mm512_set1_epi32(0x08040201), high = _mm512_slli_epi32(low, 4);
  for (int64_t i = 0; i < 8; ++i, out += 2 * tile_row_bytes) {
    const __m512i byte = _mm512_add_epi8(word, _mm512_set1_epi8(static_cast<char>(i)));
    const __m512i bytes = _mm512_permutex2var_epi8(first, byte, second);
    _mm512_store_si512(out, Signs(terms - 8 * i).of(bytes, low));
    _mm512_store_si512(out + tile_row_bytes, Signs(terms - 8 * i - 4).of(bytes, high));
  }
}

// Four tiles of 16 columns: their terms are words, `stride` apart, of which `terms` exist (64 at most); each column has a bit.
// The first two tiles go to `left`, the others to `right`. Adds to `ones`, for each column, how many of its bits are set.
inline void expand_columns(const uint64_t* words, int64_t stride, int64_t terms, int8_t* left, int8_t* right, int32_t* ones) {
  const __m512i low = _mm512_set1_epi32(0x01010101);
  const __m512i bits = _mm512_sllv_epi32(low, _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7));
  // The words of four terms, and of each the first byte for columns 0 to 7, the second for columns 8 to 15.
  const __m512i byte = _mm512_mask_blend_epi32(0xFF00, _mm512_set1_epi32(0x18100800), _mm512_set1_epi32(0x19110901));
  __m512i total[4] = {};
  for (int64_t row = 0; row < tile_rows; row += 2) {
    const __m512i eight = load_words(words + 4 * row * stride, stride, terms - 4 * row);
    for (int64_t odd = 0; odd < 2; ++odd) {
      const Signs signs(terms - 4 * (row + odd));
      for (int64_t tile = 0; tile < 4; ++tile) {
        const __m512i place = _mm512_add_epi8(byte, _mm512_set1_epi8(static_cast<char>(32 * odd + 2 * tile)));
        const __m512i v = signs.of(_mm512_permutexvar_epi8(place, eight), bits);
        int8_t* pair = tile < 2 ? left : right;
        _mm512_store_si512(pair + tile % 2 * tile_bytes + (row + odd) * tile_row_bytes, v);
        total[tile] = _mm512_dpbusd_epi32(total[tile], low, v);
      }
    }
  }
  for (int64_t tile = 0; tile < 4; ++tile) {
    int32_t* out = ones + tile * tile_columns;
    const __m512i set = _mm512_srli_epi32(_mm512_add_epi32(total[tile], _mm512_set1_epi32(static_cast<int32_t>(terms))), 1);
    _mm512_storeu_si512(out, _mm512_add_epi32(_mm512_loadu_si512(out), set));
  }
}

}  // namespace
}  // namespace fqt
