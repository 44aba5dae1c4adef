// What table lookup works on (lookup.h): tables of sums of codes, and indices into them.
//
//     tables   [plane][step of 16 codes][group of 4 codes][row][16 sums]
//     indices  [step of 16 codes][group of 4 codes][channel]
#pragma once

#include "../intrinsics.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t block_rows = 8;
constexpr int64_t block_channels = 64;
constexpr int64_t block_size = block_rows * block_channels;
constexpr int64_t step_codes = 16;
constexpr int64_t step_groups = 4;
constexpr int64_t group_tables = 16 * block_rows;               // bytes
constexpr int64_t step_tables = step_groups * group_tables;     // bytes
constexpr int64_t step_indices = step_groups * block_channels;  // bytes
constexpr int64_t planes = 2;

// What is known of the codes in the tables of one row block.
struct Totals {
  int32_t row[block_rows];
  bool high;  // whether any code is above 15
};

// Sixteen codes of each of four rows, one row in a lane; rows that do not exist are zero.
inline __m512i load_codes(const uint8_t* codes, int64_t stride, int64_t rows, __mmask16 present) {
  const auto row = [&](int64_t r) {
    return r < rows ? _mm_maskz_loadu_epi8(present, codes + r * stride) : _mm_setzero_si128();
  };
  __m512i v = _mm512_castsi128_si512(row(0));
  v = _mm512_inserti32x4(v, row(1), 1);
  v = _mm512_inserti32x4(v, row(2), 2);
  return _mm512_inserti32x4(v, row(3), 3);
}

// Stores the tables of four rows for one step, from nibbles as load_codes lays them out.
inline void store_tables(__m512i q, uint8_t* out) {
  // Two pairs of codes (a, b) stand side by side as a, a + b, b, unused: where a pair's four sums are found, by two bits.
  const __m512i first_pair = _mm512_set4_epi32(0x01020080, 0x01020080, 0x01020080, 0x01020080);
  const __m512i second_pair = _mm512_set4_epi32(0x05050505, 0x06060606, 0x04040404, static_cast<int>(0x80808080));
  const __m512i next = _mm512_set1_epi8(8);  // the other two pairs
  const __m512i sums = _mm512_add_epi8(q, _mm512_srli_epi16(q, 8));
  const auto table = [&](__m512i pairs, __m512i offset) {
    return _mm512_add_epi8(_mm512_shuffle_epi8(pairs, _mm512_add_epi8(first_pair, offset)),
                           _mm512_shuffle_epi8(pairs, _mm512_add_epi8(second_pair, offset)));
  };
  const __m512i front = _mm512_unpacklo_epi8(q, sums), back = _mm512_unpackhi_epi8(q, sums);
  _mm512_store_si512(out, table(front, _mm512_setzero_si512()));
  _mm512_store_si512(out + group_tables, table(front, next));
  _mm512_store_si512(out + 2 * group_tables, table(back, _mm512_setzero_si512()));
  _mm512_store_si512(out + 3 * group_tables, table(back, next));
}

// The tables of up to eight rows of `count` codes each, rows `stride` bytes apart; the second plane only if it is needed.
// The codes `ahead` bytes further on are asked for on the way: the next pixel's, which are too far off for the machine to guess.
inline Totals build_tables(const uint8_t* codes, int64_t stride, int64_t rows, int64_t count, int64_t ahead,
                           uint8_t* tables) {
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  const int64_t plane = ceil_div(count, step_codes) * step_tables;
  Totals totals{};
  for (int64_t half = 0; half < rows; half += 4) {
    __m512i total = _mm512_setzero_si512(), any = total;
    for (int64_t i = 0; i < count; i += step_codes) {
      const auto present = static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(smaller(16, count - i))));
      const __m512i q = load_codes(codes + half * stride + i, stride, rows - half, present);
      for (int64_t r = half; r < smaller(rows, half + 4); ++r) _mm_prefetch(codes + r * stride + i + ahead, _MM_HINT_T0);
      any = _mm512_or_si512(any, q);
      total = _mm512_add_epi64(total, _mm512_sad_epu8(q, _mm512_setzero_si512()));
      store_tables(_mm512_and_si512(q, nibble), tables + i / step_codes * step_tables + half * 16);
    }
    total = _mm512_add_epi64(total, _mm512_unpackhi_epi64(total, total));
    const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    const __m128i of_rows = _mm512_castsi512_si128(_mm512_permutexvar_epi32(lanes, total));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(totals.row + half), of_rows);
    totals.high |= _mm512_test_epi8_mask(any, _mm512_set1_epi8(static_cast<char>(0xF0))) != 0;
  }
  if (!totals.high) return totals;
  for (int64_t half = 0; half < rows; half += 4) {
    for (int64_t i = 0; i < count; i += step_codes) {
      const auto present = static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(smaller(16, count - i))));
      const __m512i q = load_codes(codes + half * stride + i, stride, rows - half, present);
      store_tables(_mm512_and_si512(_mm512_srli_epi16(q, 4), nibble),
                   tables + plane + i / step_codes * step_tables + half * 16);
    }
  }
  return totals;
}

// Indices of 64 channels from the bits of `count` words, `stride` words apart, one for each code; and, for each channel, how
// many of its bits are set.
inline void build_indices(const uint64_t* words, int64_t stride, int64_t count, uint8_t* indices, int32_t* ones) {
  constexpr int64_t counted = 255 / 4;  // groups whose numbers of bits fit a byte
  const __m512i bits_set = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
  const int64_t groups = ceil_div(count, step_codes) * step_groups;
  const auto word = [&](int64_t i) { return _cvtu64_mask64(i < count ? words[i * stride] : 0); };
  __m512i total[4] = {};
  for (int64_t first = 0; first < groups; first += counted) {
    const int64_t end = smaller(groups, first + counted);
    __m512i number = _mm512_setzero_si512();
    for (int64_t g = first; g < end; ++g) {
      __m512i index = _mm512_maskz_set1_epi8(word(4 * g), 1);
      index = _mm512_mask_add_epi8(index, word(4 * g + 1), index, _mm512_set1_epi8(2));
      index = _mm512_mask_add_epi8(index, word(4 * g + 2), index, _mm512_set1_epi8(4));
      index = _mm512_mask_add_epi8(index, word(4 * g + 3), index, _mm512_set1_epi8(8));
      _mm512_store_si512(indices + g * block_channels, index);
      number = _mm512_add_epi8(number, _mm512_shuffle_epi8(bits_set, index));
    }
    total[0] = _mm512_add_epi32(total[0], _mm512_cvtepu8_epi32(_mm512_castsi512_si128(number)));
    total[1] = _mm512_add_epi32(total[1], _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(number, 1)));
    total[2] = _mm512_add_epi32(total[2], _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(number, 2)));
    total[3] = _mm512_add_epi32(total[3], _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(number, 3)));
  }
  for (int64_t i = 0; i < 4; ++i) _mm512_storeu_si512(ones + 16 * i, total[i]);
}

}  // namespace
}  // namespace fqt
