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

constexpr int64_t products_per_number = 96;  // in the time that `parallel` counts in
constexpr int64_t table_rows = 4;  // rows of codes whose tables stand side by side, and which share each load of indices
constexpr int64_t step_bytes = table_rows * 16;

// Tables of this many steps take 16 KiB, half of a first-level cache. Sums over them stay below 256 · 60 < 2^16.
constexpr int64_t steps_together = 256;

struct Planes {
  int64_t count;  // 1, or 2 for codes above 15
  bool small;     // no code is above 3

  Planes(const uint8_t* codes, int64_t size) {
    Lanes most = zero();
    int64_t i = 0;
    for (; i + lanes <= size; i += lanes) most = larger_bytes(most, load(codes + i));
    uint8_t each[lanes], largest = 0;
    store(each, most);
    for (const uint8_t byte : each) largest = byte > largest ? byte : largest;
    for (; i < size; ++i) largest = codes[i] > largest ? codes[i] : largest;
    count = largest > 15 ? 2 : 1;
    small = largest <= 3;
  }
};

// Of four codes, (0, q0, q1, q0 + q1) and (0, q2, q3, q2 + q3), in four bytes each: which code of 16 to add where.
constexpr int8_t no = -1;  // looks up 0
constexpr int8_t first_codes[16] = {no, 0, no, 0, no, 4, no, 4, no, 8, no, 8, no, 12, no, 12};
constexpr int8_t second_codes[16] = {no, no, 1, 1, no, no, 5, 5, no, no, 9, 9, no, no, 13, 13};
constexpr int8_t third_codes[16] = {no, 2, no, 2, no, 6, no, 6, no, 10, no, 10, no, 14, no, 14};
constexpr int8_t fourth_codes[16] = {no, no, 3, 3, no, no, 7, 7, no, no, 11, 11, no, no, 15, 15};
// The 16 sums of one of the former and one of the latter.
constexpr int8_t low_entries[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
constexpr int8_t high_entries[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};

// Tables of one plane of `count` codes of two rows (the second may be null), [step][row] with steps step_bytes apart.
inline void build_tables(const uint8_t* one, const uint8_t* other, int64_t count, int64_t plane, uint8_t* tables) {
  const Lanes q0 = twice(first_codes), q1 = twice(second_codes), q2 = twice(third_codes), q3 = twice(fourth_codes);
  const Lanes low_places = twice(low_entries), high_places = twice(high_entries);
  for (int64_t i = 0; i < count; i += 16) {
    const int64_t some = smaller(16, count - i);
    const Lanes both = join(load_codes(one + i, some), load_codes(other == nullptr ? other : other + i, some));
    const Lanes codes = plane == 0 ? low_nibbles(both) : high_nibbles(both);
    const Lanes low = add_bytes(look_up_in_halves(codes, q0), look_up_in_halves(codes, q1));
    const Lanes high = add_bytes(look_up_in_halves(codes, q2), look_up_in_halves(codes, q3));
    for (int64_t step = 0; step < ceil_div(some, 4); ++step) {
      const Lanes place = all(4 * step);
      const Lanes low_sums = look_up_in_halves(low, add_bytes(low_places, place));
      const Lanes high_sums = look_up_in_halves(high, add_bytes(high_places, place));
      store(tables + (i / 4 + step) * step_bytes, add_bytes(low_sums, high_sums));
    }
  }
}

// The same of up to table_rows rows, which stand `stride` apart.
inline void build_tables(const uint8_t* codes, int64_t rows, int64_t stride, int64_t count, int64_t plane, uint8_t* tables) {
  build_tables(codes, rows > 1 ? codes + stride : nullptr, count, plane, tables);
  if (rows > 2) build_tables(codes + 2 * stride, rows > 3 ? codes + 3 * stride : nullptr, count, plane, tables + 32);
}

// What four words at a time, `stride` words apart, say of the 32 channels whose bits begin at byte `half`: for each step of
// four words and each channel, an index with the first word's bit lowest. Words past `count` count as 0. The number of set bits
// of each channel is added to `ones`.
inline void expand_indices(const uint64_t* words, int64_t stride, int64_t count, int64_t half, uint8_t* indices,
                           int32_t* ones) {
  constexpr int64_t steps_per_sum = 63;  // 63 * 4 fits a byte
  alignas(16) constexpr uint8_t bits_of_index[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
  const Table bits_of = load_table(bits_of_index);
  const uint8_t* in = reinterpret_cast<const uint8_t*>(words) + half;
  const int64_t row = stride * 8;
  for (int64_t first = 0; first < count; first += 4 * steps_per_sum) {
    const int64_t end = smaller(count, first + 4 * steps_per_sum);
    Lanes sum = zero();
    for (int64_t i = first; i < end; i += 4) {
      Lanes index = zero();
      for (int64_t j = smaller(i + 4, end); j-- > i;) {
        index = subtract_bytes(add_bytes(index, index), spread_bits(in + j * row));
      }
      store(indices + i / 4 * lanes, index);
      sum = add_bytes(sum, look_up(bits_of, index));
    }
    add_to_channels(even_bytes(sum), odd_bytes(sum), 0, ones);
  }
}

// Steps whose tables, and whose indices, stand one after the other.
struct Segment {
  const uint8_t* tables;
  const uint8_t* indices;
  int64_t steps;
};

// Bytes of all channels for each row; named, so that they stay in registers.
struct Rows {
  Lanes r0 = zero(), r1 = r0, r2 = r0, r3 = r0;
};

inline void look_up(const uint8_t* tables, const uint8_t* indices, Rows& sums) {
  Lanes index = load(indices);
  keep(index);
  sums.r0 = add_bytes(sums.r0, look_up(load_table(tables), index));
  sums.r1 = add_bytes(sums.r1, look_up(load_table(tables + 16), index));
  sums.r2 = add_bytes(sums.r2, look_up(load_table(tables + 32), index));
  sums.r3 = add_bytes(sums.r3, look_up(load_table(tables + 48), index));
  keep(sums.r0);
  keep(sums.r1);
  keep(sums.r2);
  keep(sums.r3);
}

inline void widen(const Rows& sums, Rows& pairs, Rows& odd) {
  add_pairs(sums.r0, pairs.r0, odd.r0);
  add_pairs(sums.r1, pairs.r1, odd.r1);
  add_pairs(sums.r2, pairs.r2, odd.r2);
  add_pairs(sums.r3, pairs.r3, odd.r3);
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
      Rows sums;
#pragma GCC unroll 16
      for (int64_t step = 0; step < run; ++step) look_up(tables + step * step_bytes, indices + step * lanes, sums);
      widen(sums, pairs, odd);
      tables += run * step_bytes;
      indices += run * lanes;
    }
    if (left == 0) continue;
    Rows sums;
    for (; left > 0; --left) {
      look_up(tables, indices, sums);
      tables += step_bytes;
      indices += lanes;
    }
    widen(sums, pairs, odd);
  }
  add_to_channels(even_sums(pairs.r0, odd.r0), odd.r0, shift, out);
  add_to_channels(even_sums(pairs.r1, odd.r1), odd.r1, shift, out + stride);
  add_to_channels(even_sums(pairs.r2, odd.r2), odd.r2, shift, out + 2 * stride);
  add_to_channels(even_sums(pairs.r3, odd.r3), odd.r3, shift, out + 3 * stride);
}

using AddProducts = void (*)(const Segment*, int64_t, int64_t, int64_t, int, int32_t*, int64_t);

// 16 · 4 · 3 and 4 · 4 · 15 fit a byte.
inline AddProducts products_for(const Planes& planes) { return planes.small ? add_products<16> : add_products<4>; }

// Stores eight floats or integers, or as many as there is room for.
inline void store_some(void* out, int64_t room, Lanes values) {
  if (room >= 8) {
    store(out, values);
    return;
  }
  int32_t some[8];
  store(some, values);
  std::memcpy(out, some, sizeof(int32_t) * static_cast<size_t>(room));
}

inline void store_integers(const int32_t* sums, int32_t total, int64_t channels, int32_t* out) {
  for (int64_t c = 0; c < channels; c += 8) store_some(out + c, channels - c, products(sums + c, total));
}

}  // namespace
}  // namespace fqt
