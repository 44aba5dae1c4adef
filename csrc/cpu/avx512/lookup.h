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
//     sums  [four rows][sixteen channels][four channels][row][channel]; see SumsOfRows
#pragma once

#include "lookup_operands.h"

namespace fqt {
namespace {

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

// Eight rows (upper and lower four) by 64 channels; where only the upper rows exist, `both` is false.
struct Accumulators {
  Lanes upper0, upper1, upper2, upper3, lower0, lower1, lower2, lower3;
};

template <bool first, bool both>
FQT_INLINE void look_up_group(Accumulators& s, const uint8_t* tables, const uint8_t* indices) {
  const auto index = [indices](int64_t c) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(indices + c)));
  };
  const __m512i upper = _mm512_load_si512(tables), lower = both ? _mm512_load_si512(tables + 64) : upper;
  const __m512i i0 = index(0);
  look_up<first>(s.upper0, upper, i0);
  if (both) look_up<first>(s.lower0, lower, i0);
  const __m512i i1 = index(16);
  look_up<first>(s.upper1, upper, i1);
  if (both) look_up<first>(s.lower1, lower, i1);
  const __m512i i2 = index(32);
  look_up<first>(s.upper2, upper, i2);
  if (both) look_up<first>(s.lower2, lower, i2);
  const __m512i i3 = index(48);
  look_up<first>(s.upper3, upper, i3);
  if (both) look_up<first>(s.lower3, lower, i3);
}

template <bool both>
FQT_INLINE void step(Accumulators& s, const uint8_t* tables, const uint8_t* indices) {
  look_up_group<true, both>(s, tables, indices);
  look_up_group<false, both>(s, tables + group_tables, indices + block_channels);
  look_up_group<false, both>(s, tables + 2 * group_tables, indices + 2 * block_channels);
  look_up_group<false, both>(s, tables + 3 * group_tables, indices + 3 * block_channels);
  widen(s.upper0);
  widen(s.upper1);
  widen(s.upper2);
  widen(s.upper3);
  if (!both) return;
  widen(s.lower0);
  widen(s.lower1);
  widen(s.lower2);
  widen(s.lower3);
}

template <int plane, bool both>
FQT_INLINE void flush(Accumulators& s, int32_t* sums) {
  flush<plane>(s.upper0, sums);
  flush<plane>(s.upper1, sums + 64);
  flush<plane>(s.upper2, sums + 128);
  flush<plane>(s.upper3, sums + 192);
  if (!both) return;
  flush<plane>(s.lower0, sums + 256);
  flush<plane>(s.lower1, sums + 320);
  flush<plane>(s.lower2, sums + 384);
  flush<plane>(s.lower3, sums + 448);
}

inline void clear(int32_t* sums) {
  __m512i zero = _mm512_setzero_si512();
  pin(zero);  // else this becomes a call of memset, or what is as slow for so few bytes
  for (int64_t i = 0; i < block_size; i += 16) _mm512_store_si512(sums + i, zero);
}

// A function by itself, for all registers are needed here.
template <int plane, bool both>
__attribute__((noinline)) void accumulate_rows(const Term* terms, int64_t count, int64_t steps, const uint8_t* indices, int32_t* sums) {
  constexpr int64_t most_steps = 65535 / (step_groups * 60);  // whose sums fit 16 bits
  Accumulators s{};
  int64_t room = most_steps;
  for (int64_t t = 0; t < count; ++t) {
    const uint8_t* table = terms[t].tables + plane * steps * step_tables;
    const uint8_t* index = indices + terms[t].indices;
    for (int64_t k = 0; k < steps;) {
      const int64_t end = smaller(steps, k + room);
      room -= end - k;
      for (; k < end; ++k, table += step_tables, index += step_indices) step<both>(s, table, index);
      if (room > 0) continue;
      flush<plane, both>(s, sums);
      room = most_steps;
    }
  }
  flush<plane, both>(s, sums);
}

// Adds to a block of sums of `rows` rows what one plane of some terms, of `steps` steps each, contributes.
template <int plane>
inline void accumulate(const Term* terms, int64_t count, int64_t steps, const uint8_t* indices, int64_t rows, int32_t* sums) {
  if (rows > 4) {
    accumulate_rows<plane, true>(terms, count, steps, indices, sums);
  } else {
    accumulate_rows<plane, false>(terms, count, steps, indices, sums);
  }
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

// Up to four rows of a result, and what turns their sums into floats: scale · (2 · sum - total) + offset · constant where
// `inside` has a bit, else 0. Where integers are wanted, these are 2 · sum - total, and there is no need of the floats' members.
struct Rows {
  int64_t count;
  int32_t total[4];
  float scale[4], offset[4];
  uint64_t inside[4];
  float* result[4];
  int32_t* integers[4];
};

// Calls store(row, part, its 16 values 2 · sum - total, which of them are there) for `channels` channels, at most 64, of the
// rows of one half of a block.
template <typename Store>
inline void for_each_part(const int32_t* sums, int64_t half, const Rows& rows, int64_t channels, Store store) {
  for (int64_t part = 0; part < 4 && 16 * part < channels; ++part) {
    const auto present = static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(smaller(16, channels - 16 * part))));
    const SumsOfRows of_rows(sums, half, part);
#pragma GCC unroll 4  // or of_rows would have to be in memory
    for (int64_t r = 0; r < 4; ++r) {
      if (r == rows.count) break;
      store(r, part, _mm512_sub_epi32(_mm512_slli_epi32(of_rows.row[r], 1), _mm512_set1_epi32(rows.total[r])), present);
    }
  }
}

inline void store_rows(const int32_t* sums, int64_t half, const Rows& rows, const float* constants, int64_t channels) {
  for_each_part(sums, half, rows, channels, [&](int64_t r, int64_t part, __m512i product, __mmask16 present) {
    const auto inside = static_cast<__mmask16>(rows.inside[r] >> (16 * part));
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(product), _mm512_set1_ps(rows.scale[r]));
    const __m512 constant = _mm512_mul_ps(_mm512_load_ps(constants + 16 * part), _mm512_set1_ps(rows.offset[r]));
    const __m512 value = _mm512_maskz_add_ps(inside, scaled, constant);
    if (present == 0xFFFF) {
      _mm512_storeu_ps(rows.result[r] + 16 * part, value);
    } else {
      _mm512_mask_storeu_ps(rows.result[r] + 16 * part, present, value);
    }
  });
}

inline void store_integers(const int32_t* sums, int64_t half, const Rows& rows, int64_t channels) {
  for_each_part(sums, half, rows, channels, [&](int64_t r, int64_t part, __m512i product, __mmask16 present) {
    _mm512_mask_storeu_epi32(rows.integers[r] + 16 * part, present, product);
  });
}

}  // namespace
}  // namespace fqt
