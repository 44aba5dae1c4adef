// Sums of gradient codes selected by sign bits, by table lookup: how both backward products of fused chains are computed.
//
// With codes q >= 0 and signs ±1, Σ q·(±1) = 2·Σ (q where the sign is +) - Σ q. Four codes of a row have sixteen such partial
// sums, at most 60 each for codes up to 15: a table of sixteen bytes. Four sign bits of a channel are an index into it, so one
// byte shuffle makes 64 sums of four products, where VNNI's instruction makes 64 products; four lookups are added as bytes
// (at most 240), and these are widened. Codes above 15 are taken as two nibbles ("planes"), where a row block has any.
//
// A block of sums is 8 rows by 64 channels. A vector holds the tables of four rows, one in each 128-bit lane, or sixteen
// indices, the same in each lane; so a lookup serves 4 rows by 16 channels.
//
//     tables   [plane][step of 16 codes][group of 4 codes][row][16 sums]
//     indices  [step of 16 codes][group of 4 codes][channel]
//     sums     [four rows][sixteen channels][four channels][row][channel]; see SumsOfRows
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
constexpr int64_t group_tables = 16 * block_rows;                  // bytes
constexpr int64_t step_tables = step_groups * group_tables;        // bytes
constexpr int64_t step_indices = step_groups * block_channels;     // bytes
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
inline Totals build_tables(const uint8_t* codes, int64_t stride, int64_t rows, int64_t count, uint8_t* tables) {
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  const int64_t plane = ceil_div(count, step_codes) * step_tables;
  Totals totals{};
  for (int64_t half = 0; half < block_rows && half < rows; half += 4) {
    __m512i total = _mm512_setzero_si512(), any = total;
    for (int64_t i = 0; i < count; i += step_codes) {
      const auto present = static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(smaller(16, count - i))));
      const __m512i q = load_codes(codes + half * stride + i, stride, rows - half, present);
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
  for (int64_t half = 0; half < block_rows; half += 4) {
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

// Tables of a row block, and where the indices stand that belong to the same codes.
struct Term {
  const uint8_t* tables;
  int64_t indices;
};

// gcc must see all accumulators as locals, whose addresses nobody takes, to keep them in registers.
#define FQT_INLINE inline __attribute__((always_inline))

// Sums of 4 rows by 16 channels on their way: bytes, then pairs of bytes as 16-bit numbers (even + 256 · odd, which may wrap)
// and the odd bytes alone, from which the even ones follow.
struct Lanes {
  __m512i bytes, pairs, odd;
};

// gcc must not reorder the additions, for it would run out of registers.
FQT_INLINE void pin(__m512i& v) { asm("" : "+v"(v)); }

template <bool first>
FQT_INLINE void look_up(Lanes& s, __m512i table, __m512i index) {
  const __m512i found = _mm512_shuffle_epi8(table, index);
  s.bytes = first ? found : _mm512_add_epi8(s.bytes, found);
  pin(s.bytes);
}

FQT_INLINE void widen(Lanes& s) {
  s.pairs = _mm512_add_epi16(s.pairs, s.bytes);
  s.odd = _mm512_add_epi16(s.odd, _mm512_srli_epi16(s.bytes, 8));
  pin(s.pairs);
  pin(s.odd);
}

template <int plane>
FQT_INLINE void add_to(int32_t* sums, __m512i v) {
  if (plane != 0) v = _mm512_slli_epi32(v, 4 * plane);
  _mm512_store_si512(sums, _mm512_add_epi32(_mm512_load_si512(sums), v));
}

template <int plane>
FQT_INLINE void flush(Lanes& s, int32_t* sums) {
  const __m512i zero = _mm512_setzero_si512(), even = _mm512_sub_epi16(s.pairs, _mm512_slli_epi16(s.odd, 8));
  const __m512i front = _mm512_unpacklo_epi16(even, s.odd), back = _mm512_unpackhi_epi16(even, s.odd);
  add_to<plane>(sums, _mm512_unpacklo_epi16(front, zero));
  add_to<plane>(sums + 16, _mm512_unpackhi_epi16(front, zero));
  add_to<plane>(sums + 32, _mm512_unpacklo_epi16(back, zero));
  add_to<plane>(sums + 48, _mm512_unpackhi_epi16(back, zero));
  s.pairs = s.odd = zero;
}

// Eight rows (upper and lower four) by 64 channels.
struct Accumulators {
  Lanes upper0, upper1, upper2, upper3, lower0, lower1, lower2, lower3;
};

template <bool first>
FQT_INLINE void look_up_group(Accumulators& s, const uint8_t* tables, const uint8_t* indices) {
  const auto index = [indices](int64_t c) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(indices + c)));
  };
  const __m512i upper = _mm512_load_si512(tables), lower = _mm512_load_si512(tables + 64);
  const __m512i i0 = index(0);
  look_up<first>(s.upper0, upper, i0);
  look_up<first>(s.lower0, lower, i0);
  const __m512i i1 = index(16);
  look_up<first>(s.upper1, upper, i1);
  look_up<first>(s.lower1, lower, i1);
  const __m512i i2 = index(32);
  look_up<first>(s.upper2, upper, i2);
  look_up<first>(s.lower2, lower, i2);
  const __m512i i3 = index(48);
  look_up<first>(s.upper3, upper, i3);
  look_up<first>(s.lower3, lower, i3);
}

FQT_INLINE void step(Accumulators& s, const uint8_t* tables, const uint8_t* indices) {
  look_up_group<true>(s, tables, indices);
  look_up_group<false>(s, tables + group_tables, indices + block_channels);
  look_up_group<false>(s, tables + 2 * group_tables, indices + 2 * block_channels);
  look_up_group<false>(s, tables + 3 * group_tables, indices + 3 * block_channels);
  widen(s.upper0);
  widen(s.upper1);
  widen(s.upper2);
  widen(s.upper3);
  widen(s.lower0);
  widen(s.lower1);
  widen(s.lower2);
  widen(s.lower3);
}

template <int plane>
FQT_INLINE void flush(Accumulators& s, int32_t* sums) {
  flush<plane>(s.upper0, sums);
  flush<plane>(s.upper1, sums + 64);
  flush<plane>(s.upper2, sums + 128);
  flush<plane>(s.upper3, sums + 192);
  flush<plane>(s.lower0, sums + 256);
  flush<plane>(s.lower1, sums + 320);
  flush<plane>(s.lower2, sums + 384);
  flush<plane>(s.lower3, sums + 448);
}

// Adds to a block of sums what one plane of some terms, of `steps` steps each, contributes.
template <int plane>
void accumulate(const Term* terms, int64_t count, int64_t steps, const uint8_t* indices, int32_t* sums) {
  constexpr int64_t most_steps = 65535 / (step_groups * 60);  // whose sums fit 16 bits
  Accumulators s{};
  int64_t room = most_steps;
  for (int64_t t = 0; t < count; ++t) {
    const uint8_t* table = terms[t].tables + plane * steps * step_tables;
    const uint8_t* index = indices + terms[t].indices;
    for (int64_t k = 0; k < steps;) {
      const int64_t end = smaller(steps, k + room);
      room -= end - k;
      for (; k < end; ++k, table += step_tables, index += step_indices) step(s, table, index);
      if (room > 0) continue;
      flush<plane>(s, sums);
      room = most_steps;
    }
  }
  flush<plane>(s, sums);
}

#undef FQT_INLINE

// The sums of rows half * 4 .. half * 4 + 3 for channels 16 * part .. 16 * part + 15 of a block, a vector for each row.
struct SumsOfRows {
  __m512i row[4];

  SumsOfRows(const int32_t* sums, int64_t half, int64_t part) {
    const int32_t* in = sums + (half * 4 + part) * 64;
    const __m512i c0 = _mm512_load_si512(in), c1 = _mm512_load_si512(in + 16);
    const __m512i c2 = _mm512_load_si512(in + 32), c3 = _mm512_load_si512(in + 48);
    const __m512i front01 = _mm512_shuffle_i32x4(c0, c1, 0x44), front23 = _mm512_shuffle_i32x4(c0, c1, 0xEE);
    const __m512i back01 = _mm512_shuffle_i32x4(c2, c3, 0x44), back23 = _mm512_shuffle_i32x4(c2, c3, 0xEE);
    row[0] = _mm512_shuffle_i32x4(front01, back01, 0x88);
    row[1] = _mm512_shuffle_i32x4(front01, back01, 0xDD);
    row[2] = _mm512_shuffle_i32x4(front23, back23, 0x88);
    row[3] = _mm512_shuffle_i32x4(front23, back23, 0xDD);
  }
};

// From a row's sums and the sum of all its codes to products of ±1, and on to floats: scale · product + offset · constant.
struct Affine {
  __m512i total;
  __m512 scale, offset;

  Affine(int32_t total_, float scale_, float offset_)
      : total(_mm512_set1_epi32(total_)), scale(_mm512_set1_ps(scale_)), offset(_mm512_set1_ps(offset_)) {}

  __m512 operator()(__m512i sums, __m512 constant, __mmask16 inside) const {
    const __m512 product = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_slli_epi32(sums, 1), total));
    return _mm512_maskz_add_ps(inside, _mm512_mul_ps(product, scale), _mm512_mul_ps(constant, offset));
  }
};

// Stores the first `count` numbers.
inline void store_floats(float* out, int64_t count, __m512 v) {
  if (count >= 16) {
    _mm512_storeu_ps(out, v);
  } else {
    _mm512_mask_storeu_ps(out, static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(count))), v);
  }
}

}  // namespace
}  // namespace fqt
