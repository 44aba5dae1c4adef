// Blocks of sums in tiles: 2 by 2 of them, which load four operands for four products, or 1 by 4 where rows are few.
//
// Left operands are tiles of 16 rows by 64 terms, right ones of 16 columns by 64 terms, [4 terms together][column][4]; either
// stands in one piece of 1024 bytes. A second tile of rows follows the first, and so does a second tile of columns.
#pragma once

#include "../support.h"
#include "tiles.h"

namespace fqt {
namespace {

constexpr int64_t step_terms = 64;
constexpr int64_t group_columns = 4 * tile_columns;  // what a word of bits is about
constexpr int64_t pair_bytes = 2 * tile_bytes;
constexpr int64_t sums_stride = group_columns;  // between rows of sums

// Where the operands of one step stand, in bytes from two bases.
struct Step {
  int64_t left, right;
};

struct Operands {
  const uint8_t* left;
  const int8_t* right;
  int64_t next_pair;  // bytes from columns 0 to 31 to columns 32 to 63

  const uint8_t* left_of(const Step& step) const { return left + step.left; }
  const int8_t* right_of(const Step& step) const { return right + step.right; }
};

template <int tile>
inline void load_operand(const void* bytes) {
  load_tile<tile>(bytes, tile_row_bytes);
}

template <int tile>
inline void load_sums(const int32_t* sums) {
  load_tile<tile>(sums, sums_stride * 4);
}

template <int tile>
inline void store_sums(int32_t* sums) {
  store_tile<tile>(sums, sums_stride * 4);
}

// A loop of its own keeps its addresses in registers.
#define FQT_LOOP __attribute__((noinline)) static

// 32 rows by 32 columns.
struct Square {
  static constexpr int64_t rows = 2 * tile_rows, columns = 2 * tile_columns;

  static void clear() {
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    zero_tile<3>();
  }
  static void load(const int32_t* sums) {
    const int32_t* lower = sums + tile_rows * sums_stride;
    load_sums<0>(sums);
    load_sums<1>(sums + tile_columns);
    load_sums<2>(lower);
    load_sums<3>(lower + tile_columns);
  }
  template <Bytes bytes>
  FQT_LOOP void add(const Operands& operands, const Step* steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* left = operands.left_of(steps[i]);
      const int8_t* right = operands.right_of(steps[i]);
      load_operand<6>(right);
      load_operand<4>(left);
      multiply_tiles<bytes, 0, 4, 6>();
      load_operand<7>(right + tile_bytes);
      multiply_tiles<bytes, 1, 4, 7>();
      load_operand<5>(left + tile_bytes);
      multiply_tiles<bytes, 2, 5, 6>();
      multiply_tiles<bytes, 3, 5, 7>();
    }
  }
  static void store(int32_t* sums) {
    int32_t* lower = sums + tile_rows * sums_stride;
    store_sums<0>(sums);
    store_sums<1>(sums + tile_columns);
    store_sums<2>(lower);
    store_sums<3>(lower + tile_columns);
  }
};

// 16 rows by 64 columns.
struct Flat {
  static constexpr int64_t rows = tile_rows, columns = 4 * tile_columns;

  static void clear() { Square::clear(); }
  static void load(const int32_t* sums) {
    load_sums<0>(sums);
    load_sums<1>(sums + tile_columns);
    load_sums<2>(sums + 2 * tile_columns);
    load_sums<3>(sums + 3 * tile_columns);
  }
  template <Bytes bytes>
  FQT_LOOP void add(const Operands& operands, const Step* steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int8_t* right = operands.right_of(steps[i]);
      const int8_t* next = right + operands.next_pair;
      load_operand<4>(operands.left_of(steps[i]));
      load_operand<5>(right);
      multiply_tiles<bytes, 0, 4, 5>();
      load_operand<6>(right + tile_bytes);
      multiply_tiles<bytes, 1, 4, 6>();
      load_operand<7>(next);
      multiply_tiles<bytes, 2, 4, 7>();
      load_operand<5>(next + tile_bytes);
      multiply_tiles<bytes, 3, 4, 5>();
    }
  }
  static void store(int32_t* sums) {
    store_sums<0>(sums);
    store_sums<1>(sums + tile_columns);
    store_sums<2>(sums + 2 * tile_columns);
    store_sums<3>(sums + 3 * tile_columns);
  }
};

#undef FQT_LOOP

}  // namespace
}  // namespace fqt
