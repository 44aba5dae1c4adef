// Codes times bits by table look-up: the arithmetic of both backward products.
//
// Four codes q0 .. q3 have 16 sums over subsets, and a table of them is looked up for 32 channels by one instruction, with four
// bits of each channel as the index:
//
//     table[b] = Σ q_i · (bit i of b)        Σ q·(±1) = 2·Σ table[bits] - Σ q
//
// A table takes few operations to build and serves all channels (and taps). Codes above 15 are taken as two nibbles
// ("planes"), 16 times the second plus the first, so entries are at most 60, four of them fit a byte, and bytes are widened to
// 16 bits after every `run` steps.
#pragma once

#include "lanes.h"

namespace fqt {
namespace {

constexpr int64_t table_rows = 4;  // rows of codes whose tables stand side by side, and which share each load of indices
constexpr int64_t step_bytes = table_rows * 16;

// Tables of this many steps take 16 KiB, half of a first-level cache. Sums over them stay below 256 · 60 < 2^16.
constexpr int64_t steps_together = 256;

struct Planes {
  int64_t count;  // 1, or 2 for codes above 15
  bool small;     // no code is above 3

  Planes(const uint8_t* codes, int64_t size) {
    __m256i most = _mm256_setzero_si256();
    int64_t i = 0;
    for (; i + 32 <= size; i += 32) most = _mm256_max_epu8(most, load(codes + i));
    uint8_t bytes[32], largest = 0;
    store(bytes, most);
    for (const uint8_t byte : bytes) largest = byte > largest ? byte : largest;
    for (; i < size; ++i) largest = codes[i] > largest ? codes[i] : largest;
    count = largest > 15 ? 2 : 1;
    small = largest <= 3;
  }
};

// The first `count` of 16 codes, then zeros; no codes at all if p is null.
inline __m128i load_codes(const uint8_t* p, int64_t count) {
  if (p == nullptr) return _mm_setzero_si128();
  if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  alignas(16) uint8_t codes[16] = {};
  std::memcpy(codes, p, static_cast<size_t>(count));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(codes));
}

// Tables of one plane of `count` codes of two rows (the second may be null), [step][row] with steps step_bytes apart.
inline void build_tables(const uint8_t* one, const uint8_t* other, int64_t count, int64_t plane, uint8_t* tables) {
  constexpr char no = -1;  // looks up 0
  const auto twice = [](__m128i v) { return _mm256_broadcastsi128_si256(v); };
  // Of four codes: (0, q0, q1, q0 + q1) and (0, q2, q3, q2 + q3), in four bytes each; then the 16 sums of these.
  const __m256i q0 = twice(_mm_setr_epi8(no, 0, no, 0, no, 4, no, 4, no, 8, no, 8, no, 12, no, 12));
  const __m256i q1 = twice(_mm_setr_epi8(no, no, 1, 1, no, no, 5, 5, no, no, 9, 9, no, no, 13, 13));
  const __m256i q2 = twice(_mm_setr_epi8(no, 2, no, 2, no, 6, no, 6, no, 10, no, 10, no, 14, no, 14));
  const __m256i q3 = twice(_mm_setr_epi8(no, no, 3, 3, no, no, 7, 7, no, no, 11, 11, no, no, 15, 15));
  const __m256i low_entries = twice(_mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  const __m256i high_entries = twice(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int64_t i = 0; i < count; i += 16) {
    const int64_t some = smaller(16, count - i);
    __m256i codes = _mm256_set_m128i(load_codes(other == nullptr ? other : other + i, some), load_codes(one + i, some));
    codes = _mm256_and_si256(plane == 0 ? codes : _mm256_srli_epi16(codes, 4), nibble);
    const __m256i low = _mm256_add_epi8(_mm256_shuffle_epi8(codes, q0), _mm256_shuffle_epi8(codes, q1));
    const __m256i high = _mm256_add_epi8(_mm256_shuffle_epi8(codes, q2), _mm256_shuffle_epi8(codes, q3));
    for (int64_t step = 0; step < ceil_div(some, 4); ++step) {
      const __m256i place = _mm256_set1_epi8(static_cast<char>(4 * step));
      const __m256i low_sums = _mm256_shuffle_epi8(low, _mm256_add_epi8(low_entries, place));
      const __m256i high_sums = _mm256_shuffle_epi8(high, _mm256_add_epi8(high_entries, place));
      store(tables + (i / 4 + step) * step_bytes, _mm256_add_epi8(low_sums, high_sums));
    }
  }
}

// The same of up to table_rows rows, which stand `stride` apart.
inline void build_tables(const uint8_t* codes, int64_t rows, int64_t stride, int64_t count, int64_t plane, uint8_t* tables) {
  build_tables(codes, rows > 1 ? codes + stride : nullptr, count, plane, tables);
  if (rows > 2) build_tables(codes + 2 * stride, rows > 3 ? codes + 3 * stride : nullptr, count, plane, tables + 32);
}

inline int32_t sum_of_codes(const uint8_t* codes, int64_t count) {
  __m128i sum = _mm_setzero_si128();
  for (int64_t i = 0; i < count; i += 16) {
    sum = _mm_add_epi64(sum, _mm_sad_epu8(load_codes(codes + i, count - i), _mm_setzero_si128()));
  }
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum)));
}

// Steps whose tables, and whose indices, stand one after the other.
struct Segment {
  const uint8_t* tables;
  const uint8_t* indices;
  int64_t steps;
};

// One vector for each row; named, so that they stay in registers.
struct Rows {
  __m256i r0 = _mm256_setzero_si256(), r1 = r0, r2 = r0, r3 = r0;
};

inline void look_up(const uint8_t* tables, const uint8_t* indices, Rows& sums) {
  __m256i index = load(indices);
  keep(index);
  sums.r0 = _mm256_add_epi8(sums.r0, _mm256_shuffle_epi8(load_table(tables), index));
  sums.r1 = _mm256_add_epi8(sums.r1, _mm256_shuffle_epi8(load_table(tables + 16), index));
  sums.r2 = _mm256_add_epi8(sums.r2, _mm256_shuffle_epi8(load_table(tables + 32), index));
  sums.r3 = _mm256_add_epi8(sums.r3, _mm256_shuffle_epi8(load_table(tables + 48), index));
  keep(sums.r0);
  keep(sums.r1);
  keep(sums.r2);
  keep(sums.r3);
}

// Adds bytes to 16-bit sums: odd bytes alone, and whole pairs, even + 256 · odd, from which the even ones follow at the end.
inline void widen(const Rows& bytes, Rows& pairs, Rows& odd) {
  const auto add = [](__m256i v, __m256i& pair, __m256i& high) {
    pair = _mm256_add_epi16(pair, v);
    high = _mm256_add_epi16(high, _mm256_srli_epi16(v, 8));
  };
  add(bytes.r0, pairs.r0, odd.r0);
  add(bytes.r1, pairs.r1, odd.r1);
  add(bytes.r2, pairs.r2, odd.r2);
  add(bytes.r3, pairs.r3, odd.r3);
}

// out[row · stride + channel] += (Σ table[index] << shift) over some segments, at most steps_together steps in all.
template <int64_t run>
void add_products(const Segment* segments, int64_t count, int64_t table_offset, int64_t index_offset, int shift, int32_t* out,
                  int64_t stride) {
  Rows pairs, odd;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* tables = segments[i].tables + table_offset;
    const uint8_t* indices = segments[i].indices + index_offset;
    int64_t left = segments[i].steps;
    for (; left >= run; left -= run) {
      Rows bytes;
#pragma GCC unroll 16
      for (int64_t step = 0; step < run; ++step) look_up(tables + step * step_bytes, indices + step * lanes, bytes);
      widen(bytes, pairs, odd);
      tables += run * step_bytes;
      indices += run * lanes;
    }
    if (left == 0) continue;
    Rows bytes;
    for (; left > 0; --left) {
      look_up(tables, indices, bytes);
      tables += step_bytes;
      indices += lanes;
    }
    widen(bytes, pairs, odd);
  }
  const auto add = [&](__m256i pair, __m256i high, int32_t* row) {
    add_to_channels(_mm256_sub_epi16(pair, _mm256_slli_epi16(high, 8)), high, shift, row);
  };
  add(pairs.r0, odd.r0, out);
  add(pairs.r1, odd.r1, out + stride);
  add(pairs.r2, odd.r2, out + 2 * stride);
  add(pairs.r3, odd.r3, out + 3 * stride);
}

using AddProducts = void (*)(const Segment*, int64_t, int64_t, int64_t, int, int32_t*, int64_t);

// 16 · 4 · 3 and 4 · 4 · 15 fit a byte.
inline AddProducts products_for(const Planes& planes) { return planes.small ? add_products<16> : add_products<4>; }

// Stores eight floats or integers, or as many as there is room for.
inline void store_some(void* out, int64_t room, __m256i values) {
  if (room >= 8) {
    store(out, values);
    return;
  }
  int32_t some[8];
  store(some, values);
  std::memcpy(out, some, sizeof(int32_t) * static_cast<size_t>(room));
}

// 2 · sum - total, of eight channels.
inline __m256i products(const int32_t* sums, int32_t total) {
  const __m256i sum = load(sums);
  return _mm256_sub_epi32(_mm256_add_epi32(sum, sum), _mm256_set1_epi32(total));
}

inline void store_integers(const int32_t* sums, int32_t total, int64_t channels, int32_t* out) {
  for (int64_t c = 0; c < channels; c += 8) store_some(out + c, channels - c, products(sums + c, total));
}

// float(2 · sum - total) · scale + float(constant) · offset, of eight channels.
inline __m256 affine(const int32_t* sums, int32_t total, const float* constants, float scale, float offset) {
  return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(products(sums, total)), _mm256_set1_ps(scale)),
                       _mm256_mul_ps(_mm256_loadu_ps(constants), _mm256_set1_ps(offset)));
}

}  // namespace
}  // namespace fqt
