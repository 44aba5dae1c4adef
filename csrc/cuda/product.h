// The three products of a layer, as one: sums over words of bits, or of codes, with bits; and of bytes with bytes.
//
//     acc[row][column] = Σ_k a[row][k] · b[k][column],     a in {0, 1} or {0, …, 255},   b in {0, 1};   or both in {-128, …, 127}
//
// With signs s = 2 b - 1, the products that the layer wants follow from acc, sums of a row and sums of a column (Σ a s = 2 acc - Σ a,
// and so on), and what padding leaves out is a 0 in a or b, which adds nothing. A block computes 128 rows x 64 columns, a thread of it
// loads a row of a into shared memory, in fragment order, 8 words at a time; b lies in fragment order in global memory.
//
//     block                        warp 0:  rows 0 to 31  = 2 fragments x 8 fragments of columns
//     128 rows x 64 columns        warp 1:  rows 32 to 63   ...
//
// A problem says what a row of a is and what is done with acc:
//
//     rows, columns, steps, splits      steps of 8 words of b for each column; `splits` blocks share out the steps
//     b                                 [group][column / 8][step][lane][2]
//     int planes(t)                     bits of a code that are taken one by one, 1 for bits
//     Row row(t, r, group)              with restart(plane, first step) and next(t), which gives one word after the other
//     Place place(r)                    a row of the result, for store(t, place, group, column, acc, sum of the row's a)
#pragma once

#include "../cpu/support.h"
#include "fragments.h"

namespace fqt::cuda {

constexpr int tile_rows = 128, tile_columns = 64;
constexpr int tile_column_fragments = tile_columns / fragment_columns;
constexpr int warp_row_fragments = 2;

// Fragments of a in shared memory. Four words stand free after those of four lanes, so that threads which store neighbouring rows
// meet different banks.
constexpr int slot_stride = 20, fragment_room = 8 * slot_stride, buffer_room = tile_rows / fragment_rows * fragment_room;
FQT_HOST_DEVICE int place_in_buffer(int fragment, int lane) {
  return fragment * fragment_room + lane / 4 * slot_stride + lane % 4 * 4;
}

// How a's words hold what is summed: 32 bits of it, or 4 bytes. b's words are bits, but for signed bytes they are such as well.
enum class Words { bits, bytes, signed_bytes };

// How many steps of a there are for one step of b.
constexpr int steps_per_step(Words words) { return words == Words::bytes ? 8 : 1; }

// What a word adds to the sum of its row, which nobody wants of signed bytes.
FQT_DEVICE int32_t sum_of(Words words, uint32_t word) {
  if (words == Words::signed_bytes) return 0;
  if (words == Words::bits) return set_bits(word);
  return static_cast<int32_t>((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
}

using ProductBuffer = SharedArray<uint32_t, 2 * buffer_room>;

// One step: adds the product of a's fragments from `first` in the buffer on, and of b's. `fragments` of columns are there.
template <Path path, Words words>
struct Multiply;

// a and b are what the instruction takes.
template <void (*multiply)(const Thread&, Accumulator&, const Quad&, const Pair&)>
struct MultiplyAsTheyAre {
  FQT_DEVICE static void step(const Thread& t, const ProductBuffer& buffer, int first, const GlobalArray<const uint32_t>& b,
                              int64_t b_first, int64_t b_stride, int fragments, int /*part*/,
                              Accumulator (&c)[warp_row_fragments][tile_column_fragments]) {
    Quad a[warp_row_fragments];
    for (int m = 0; m < warp_row_fragments; ++m) a[m] = buffer.load4(t, first + place_in_buffer(m, t.lane()));
FQT_UNROLL
    for (int n = 0; n < tile_column_fragments; ++n) {
      if (n >= fragments) break;
      const Pair of_b = b.load2(t, b_first + n * b_stride + t.lane() * 2);
      for (int m = 0; m < warp_row_fragments; ++m) multiply(t, c[m][n], a[m], of_b);
    }
  }
};

template <>
struct Multiply<Path::bits, Words::bits> : MultiplyAsTheyAre<&multiply_bits> {};
template <>
struct Multiply<Path::bytes, Words::signed_bytes> : MultiplyAsTheyAre<&multiply_signed_bytes> {};

template <>
struct Multiply<Path::words, Words::bits> {
  FQT_DEVICE static uint64_t joined(uint32_t low, uint32_t high) { return low | static_cast<uint64_t>(high) << 32; }
  FQT_DEVICE static void step(const Thread& t, const ProductBuffer& buffer, int first, const GlobalArray<const uint32_t>& b,
                              int64_t b_first, int64_t b_stride, int fragments, int /*part*/,
                              Accumulator (&c)[warp_row_fragments][tile_column_fragments]) {
FQT_NO_UNROLL
    for (int i = 0; i < fragment_words / 2; ++i) {  // words i and i + 4 of the rows and columns whose sums this lane has
      Quad a[warp_row_fragments];
      for (int m = 0; m < warp_row_fragments; ++m) a[m] = buffer.load4(t, first + place_in_buffer(m, t.lane() / 4 * 4 + i));
FQT_UNROLL
      for (int n = 0; n < tile_column_fragments; ++n) {
        if (n >= fragments) break;
FQT_UNROLL
        for (int half = 0; half < 2; ++half) {
          const Slot slot = slot_of_b(i, column_of_c(t.lane(), half));
          const Pair of_b = b.load2(t, b_first + n * b_stride + slot.lane * 2);
          const uint64_t column = joined(of_b.word[0], of_b.word[1]);
FQT_UNROLL
          for (int m = 0; m < warp_row_fragments; ++m) {
            c[m][n].value[half] += set_bits(joined(a[m].word[0], a[m].word[2]) & column);
            c[m][n].value[2 + half] += set_bits(joined(a[m].word[1], a[m].word[3]) & column);
          }
        }
      }
    }
  }
};

// Bits become bytes on their way from memory to the tensor cores: 32 bits of a row are the words of 8 lanes.
template <>
struct Multiply<Path::bytes, Words::bits> {
  FQT_DEVICE static void step(const Thread& t, const ProductBuffer& buffer, int first, const GlobalArray<const uint32_t>& b,
                              int64_t b_first, int64_t b_stride, int fragments, int /*part*/,
                              Accumulator (&c)[warp_row_fragments][tile_column_fragments]) {
    const int quarter = t.lane() % 4;
FQT_NO_UNROLL
    for (int i = 0; i < fragment_words / 2; ++i) {  // words i and i + 4
      Quad a[warp_row_fragments];
      for (int m = 0; m < warp_row_fragments; ++m) a[m] = buffer.load4(t, first + place_in_buffer(m, t.lane() / 4 * 4 + i));
FQT_UNROLL
      for (int word = 0; word < 2; ++word) {
        Quad bytes[warp_row_fragments];
FQT_UNROLL
        for (int m = 0; m < warp_row_fragments; ++m) {
          const uint32_t upper = a[m].word[2 * word], lower = a[m].word[2 * word + 1];
          bytes[m] = {{bytes_of_bits(upper, quarter), bytes_of_bits(lower, quarter), bytes_of_bits(upper >> 16, quarter),
                       bytes_of_bits(lower >> 16, quarter)}};
        }
FQT_UNROLL
        for (int n = 0; n < tile_column_fragments; ++n) {
          if (n >= fragments) break;
          const uint32_t of_b = b.load(t, b_first + n * b_stride + (t.lane() / 4 * 4 + i) * 2 + word);
          const Pair column{{bytes_of_bits(of_b, quarter), bytes_of_bits(of_b >> 16, quarter)}};
          for (int m = 0; m < warp_row_fragments; ++m) multiply_bytes(t, c[m][n], bytes[m], column);
        }
      }
    }
  }
};

// Codes are bytes already; a step of theirs goes with word `part` of a step of b.
template <>
struct Multiply<Path::bytes, Words::bytes> {
  FQT_DEVICE static void step(const Thread& t, const ProductBuffer& buffer, int first, const GlobalArray<const uint32_t>& b,
                              int64_t b_first, int64_t b_stride, int fragments, int part,
                              Accumulator (&c)[warp_row_fragments][tile_column_fragments]) {
    const int quarter = t.lane() % 4;
    const Slot slot = slot_of_b(part, t.lane() / 4);
    Quad a[warp_row_fragments];
    for (int m = 0; m < warp_row_fragments; ++m) a[m] = buffer.load4(t, first + place_in_buffer(m, t.lane()));
FQT_UNROLL
    for (int n = 0; n < tile_column_fragments; ++n) {
      if (n >= fragments) break;
      const uint32_t of_b = b.load(t, b_first + n * b_stride + slot.lane * 2 + slot.number);
      const Pair column{{bytes_of_bits(of_b, quarter), bytes_of_bits(of_b >> 16, quarter)}};
      for (int m = 0; m < warp_row_fragments; ++m) multiply_bytes(t, c[m][n], a[m], column);
    }
  }
};

// Block (x, y, z): rows, columns, group and part of the steps.
template <typename Problem>
struct Product {
  static constexpr int threads = tile_rows, blocks = 3;  // 168 registers a thread
  static constexpr Path path = Problem::path;
  static constexpr Words words = Problem::words;
  struct Shared {
    ProductBuffer a;
    SharedArray<int32_t, tile_rows> sums;
  };
  using Accumulators = Accumulator[warp_row_fragments][tile_column_fragments];
  Problem problem;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t group = t.block_z() / problem.splits, split = t.block_z() % problem.splits;
    const int64_t per_split = ceil_div(problem.steps, problem.splits);
    const int64_t begin = split * per_split, end = smaller(problem.steps, begin + per_split);
    Accumulators c{};
    int32_t sum = 0;
    multiply(t, s, group, begin, end, c, sum);
    s.sums.store(t, t.index(), sum);
    t.barrier();
    store(t, s, group, c);
  }

  static FQT_DEVICE void load(const Thread& t, typename Problem::Row& row, uint32_t (&a)[fragment_words]) {
FQT_UNROLL
    for (int i = 0; i < fragment_words; ++i) a[i] = row.next(t);
  }

  FQT_DEVICE void multiply(const Thread& t, Shared& s, int64_t group, int64_t begin, int64_t end, Accumulators& c,
                           int32_t& sum) const {
    constexpr int parts = steps_per_step(words);
    const int64_t first_column = t.block_y() * tile_columns / fragment_columns;
    const int64_t all_fragments = ceil_div(problem.columns, fragment_columns), b_stride = problem.steps * 2 * warp_size;
    const auto fragments = static_cast<int>(smaller(tile_column_fragments, all_fragments - first_column));
    const int64_t b_first = (group * all_fragments + first_column) * b_stride;
    typename Problem::Row row = problem.row(t, t.block_x() * tile_rows + t.index(), group);
    int turn = 0;  // which of the two buffers: one is filled while other warps may still read from the other
    for (int plane = problem.planes(t) - 1; plane >= 0; --plane) {
      for (int m = 0; m < warp_row_fragments; ++m) {
        for (int n = 0; n < tile_column_fragments; ++n) {
          for (int v = 0; v < 4; ++v) c[m][n].value[v] *= 2;
        }
      }
      sum *= 2;
      row.restart(plane, begin * parts);
      uint32_t a[fragment_words];
      load(t, row, a);
FQT_NO_UNROLL
      for (int64_t i = begin * parts; i < end * parts; ++i, turn ^= 1) {
        fill(t, s.a, turn, a, sum);
        t.barrier();
        if (i + 1 < end * parts) load(t, row, a);  // on its way during the products
        Multiply<path, words>::step(t, s.a, turn * buffer_room + t.warp() * warp_row_fragments * fragment_room, problem.b,
                                    b_first + i / parts * 2 * warp_size, b_stride, fragments, static_cast<int>(i % parts), c);
      }
    }
  }

  // Puts this thread's words of its row into fragment order.
  static FQT_DEVICE void fill(const Thread& t, ProductBuffer& buffer, int turn, const uint32_t (&a)[fragment_words], int32_t& sum) {
    const int fragment = t.index() / fragment_rows, row = t.index() % fragment_rows;
FQT_UNROLL
    for (int i = 0; i < fragment_words; ++i) {
      const Slot slot = slot_of_a(row, i);
      buffer.store(t, turn * buffer_room + place_in_buffer(fragment, slot.lane) + slot.number, a[i]);
      sum += sum_of(words, a[i]);
    }
  }

  FQT_DEVICE void store(const Thread& t, const Shared& s, int64_t group, const Accumulators& c) const {
FQT_UNROLL
    for (int m = 0; m < warp_row_fragments; ++m) {
FQT_UNROLL
      for (int v = 0; v < 4; v += 2) {
        const int in_tile = (t.warp() * warp_row_fragments + m) * fragment_rows + row_of_c(t.lane(), v);
        const int64_t row = t.block_x() * tile_rows + in_tile;
        if (row >= problem.rows) continue;
        const typename Problem::Place place = problem.place(t, row);
        const int32_t sum = s.sums.load(t, in_tile);
FQT_UNROLL
        for (int n = 0; n < tile_column_fragments; ++n) {
FQT_UNROLL
          for (int half = 0; half < 2; ++half) {
            const int64_t column = t.block_y() * tile_columns + n * fragment_columns + column_of_c(t.lane(), half);
            if (column < problem.columns) problem.store(t, place, group, column, c[m][n].value[v + half], sum);
          }
        }
      }
    }
  }
};

template <typename Problem>
void launch_product(const Problem& problem, int64_t groups, const Queue& queue) {
  if (problem.rows == 0 || problem.columns == 0) return;
  const Grid grid{ceil_div(problem.rows, tile_rows), ceil_div(problem.columns, tile_columns), groups * problem.splits};
  launch(Product<Problem>{problem}, grid, queue);
}

// b in fragment order, from source.word(t, group, column, k): 32 bits of a column.
template <typename Source>
struct ArrangeColumns {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Source source;
  int64_t groups, columns, words;
  GlobalArray<uint32_t> b;

  int64_t steps() const { return ceil_div(words, fragment_words); }
  int64_t pairs() const { return groups * ceil_div(columns, fragment_columns) * steps() * warp_size; }

  FQT_DEVICE uint32_t word(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    return column < columns && k < words ? source.word(t, group, column, k) : 0;
  }
  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    const int64_t fragments = ceil_div(columns, fragment_columns), per_column = ceil_div(words, fragment_words);
    if (i >= groups * fragments * per_column * warp_size) return;
    const int64_t lane = i % warp_size, step = i / warp_size % per_column, fragment = i / warp_size / per_column;
    const int64_t group = fragment / fragments, column = fragment % fragments * fragment_columns + lane / 4;
    const int64_t k = step * fragment_words + lane % 4;
    b.store2(t, 2 * i, {{word(t, group, column, k), word(t, group, column, k + 4)}});
  }
};

// Columns of b in fragment order.
struct Columns {
  GlobalArray<const uint32_t> words;
  int64_t fragments, steps;  // of a group; of a column

  FQT_HOST_DEVICE static int64_t place(int64_t fragments, int64_t steps, int64_t group, int64_t column, int64_t k) {
    const Slot slot = slot_of_b(static_cast<int>(k % fragment_words), static_cast<int>(column % fragment_columns));
    const int64_t fragment = group * fragments + column / fragment_columns;
    return ((fragment * steps + k / fragment_words) * warp_size + slot.lane) * 2 + slot.number;
  }
  FQT_DEVICE uint32_t load(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    return words.load(t, place(fragments, steps, group, column, k));
  }
};

// Arranges columns in scratch memory.
template <typename Source>
Columns arrange_columns(const Source& source, int64_t groups, int64_t columns, int64_t words, const Queue& queue) {
  ArrangeColumns<Source> kernel{source, groups, columns, words, {}};
  const int64_t count = 2 * kernel.pairs();
  auto* memory = queue.scratch<uint32_t>(count);
  kernel.b = {memory, count};
  launch(kernel, {ceil_div(kernel.pairs(), kernel.threads)}, queue);
  return {{memory, count}, ceil_div(columns, fragment_columns), kernel.steps()};
}

struct Fill {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<uint32_t> words;
  int64_t count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i < count) words.store(t, i, 0);
  }
};

inline void fill_with_zeros(uint32_t* words, int64_t count, const Queue& queue) {
  launch(Fill{{words, count}, count}, {ceil_div(count, Fill::threads)}, queue);
}

// How many blocks share out the steps of one result: enough to keep a large GPU busy, each with work that is worth its start.
inline int64_t splits_for(int64_t blocks, int64_t steps) {
  constexpr int64_t wanted_blocks = 1024, least_steps = 16;
  return larger(1, smaller(ceil_div(wanted_blocks, blocks), steps / least_steps));
}

}  // namespace fqt::cuda
