// One bit times one bit for fused chains: K - 2 * popcount(x XOR w) over the taps that lie inside the input.
//
// Differing bits are looked up (differences.h), so nothing is left to do but to add, and sums of outputs stand side by side:
//
//     for each tap, word, four bits:   sum[row][output] += differences[bits of x][bits of w]      rows x outputs in registers
//
// Rows are the samples of consecutive pixels of a line that the same taps reach.
#include "../kernels.h"
#include "differences.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 256;  // in the time that `parallel` counts in
constexpr int64_t words_together = 3;  // 3 words * 64 bits fit a byte
constexpr int64_t most_vectors = 4;    // of outputs, in a block
constexpr int64_t most_rows = 128;     // in a tile, which share each load of indices into the first-level cache
constexpr int64_t row_unit = 4;        // rows that are summed together, at most

// Indices as [block of outputs][tap][word][four bits][vector][lane]; the last block has fewer vectors than the others.
struct Weights {
  int64_t words, taps, vectors, blocks;
  Buffer<uint8_t> indices;

  Weights(const HwncConvArguments& a, const Threads& threads)
      : words(ceil_div(a.shape.channels, 64)),
        taps(a.shape.kernel_height * a.shape.kernel_width),
        vectors(ceil_div(a.shape.outputs, lanes)),
        blocks(ceil_div(vectors, most_vectors)),
        indices(vectors * taps * words * steps * lanes) {
    parallel(threads, vectors * taps, words * steps * lanes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t vector = i / taps, block = vector / most_vectors, d = vector * lanes;
        const int64_t outputs = smaller(lanes, a.shape.outputs - d), stride = vectors_of(block) * lanes;
        for (int64_t j = i % taps * words; j < (i % taps + 1) * words; ++j) {
          expand_weights(a.weight + d * taps * words + j, taps * words, outputs, stride,
                         of(block) + j * steps * stride + vector % most_vectors * lanes);
        }
      }
    });
  }

  int64_t vectors_of(int64_t block) const { return smaller(most_vectors, vectors - block * most_vectors); }
  uint8_t* of(int64_t block) const { return indices.get() + block * most_vectors * taps * words * steps * lanes; }
};

// A word of the first row of a tile, as offsets, and the indices of a block of outputs that belong to it.
struct Term {
  const uint8_t* x;
  const uint8_t* indices;
};

// sums[row][vector][lane] += differing bits of some rows and vectors of outputs in up to words_together terms.
template <int rows, int vectors>
inline void add_differences(const Term* terms, int64_t count, const int64_t* row, uint16_t* sums) {
  __m256i bytes[rows][vectors];
  for (auto& of_row : bytes) {
    for (auto& v : of_row) v = _mm256_setzero_si256();
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* x[rows];
    for (int r = 0; r < rows; ++r) x[r] = terms[i].x + row[r];
#pragma GCC unroll 16
    for (int64_t step = 0; step < steps; ++step) {
      __m256i table[rows];
      for (int r = 0; r < rows; ++r) table[r] = load_table(differences.count[0] + x[r][step]);
      for (int v = 0; v < vectors; ++v) {
        __m256i index = load(terms[i].indices + (step * vectors + v) * lanes);
        keep(index);  // else compilers load it for each row
        for (int r = 0; r < rows; ++r) bytes[r][v] = _mm256_add_epi8(bytes[r][v], _mm256_shuffle_epi8(table[r], index));
        for (int r = 0; r < rows; ++r) keep(bytes[r][v]);  // else they add in another order, with more sums in flight
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      uint16_t* sum = sums + (r * vectors + v) * lanes;
      store(sum, _mm256_add_epi16(load(sum), _mm256_and_si256(bytes[r][v], _mm256_set1_epi16(0xFF))));
      store(sum + 16, _mm256_add_epi16(load(sum + 16), _mm256_srli_epi16(bytes[r][v], 8)));
    }
  }
}

// The same for all rows of a tile, rounded up to row_unit, and all terms.
template <int rows, int vectors>
void count_differences(const Term* terms, int64_t count, const int64_t* row, int64_t tile_rows, uint16_t* sums) {
  std::memset(sums, 0, sizeof(uint16_t) * static_cast<size_t>(round_up(tile_rows, row_unit) * vectors * lanes));
  for (int64_t i = 0; i < count; i += words_together) {
    const int64_t some = smaller(words_together, count - i);
    for (int64_t r = 0; r < tile_rows; r += rows) {
      add_differences<rows, vectors>(terms + i, some, row + r, sums + r * vectors * lanes);
    }
  }
}

using CountDifferences = void (*)(const Term*, int64_t, const int64_t*, int64_t, uint16_t*);
constexpr CountDifferences count_by_vectors[most_vectors] = {count_differences<4, 1>, count_differences<4, 2>,
                                                             count_differences<2, 3>, count_differences<2, 4>};

// Some rows of an output line, which the same taps reach: pixel and sample of the first row, and how many there are.
struct Tile {
  int64_t column, sample, rows;
};

// The tiles of one line; all lines have the same.
struct Tiles {
  Buffer<Tile> data;
  int64_t count = 0;

  explicit Tiles(const ConvShape& s) : data(ceil_div(s.out_width * s.samples, most_rows) + s.out_width) {
    for (int64_t column = 0; column < s.out_width;) {
      const int64_t end = same_taps(s, column), rows = (end - column) * s.samples;
      for (int64_t i = 0; i < rows; i += most_rows) {
        data[count++] = {column + i / s.samples, i % s.samples, smaller(most_rows, rows - i)};
      }
      column = end;
    }
  }

 private:
  // Columns from this one up to the result are reached by the same taps.
  static int64_t same_taps(const ConvShape& s, int64_t column) {
    int64_t end = s.out_width;
    for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
      const Interval inside = outputs_inside(kw * s.dilation[1] - s.padding[1], s.stride[1], s.width, s.out_width);
      if (inside.begin > column) end = smaller(end, inside.begin);
      if (inside.end > column) end = smaller(end, inside.end);
    }
    return end;
  }
};

// Computes tiles of blocks of outputs, and adds up their sums.
class Worker {
 public:
  Worker(const HwncConvArguments& a, const uint8_t* x, const Weights& weights)
      : a_(a),
        s_(a.shape),
        x_(x),
        weights_(weights),
        terms_(weights.taps * weights.words),
        counts_(most_rows * most_vectors * lanes),
        sum_(weights.vectors * lanes),
        square_(weights.vectors * lanes) {}

  void compute(int64_t line, const Tile& tile, int64_t block) {
    const int64_t count = find_terms(line, tile, block), vectors = weights_.vectors_of(block);
    int64_t row[most_rows];
    for (int64_t r = 0; r < round_up(tile.rows, row_unit); ++r) {
      const int64_t i = tile.sample + smaller(r, tile.rows - 1);  // rows past the last repeat it
      row[r] = (i / s_.samples * s_.stride[1] * s_.samples + i % s_.samples) * weights_.words * steps;
    }
    count_by_vectors[vectors - 1](terms_.get(), count, row, tile.rows, counts_.get());
    const int64_t products = count / larger(1, weights_.words) * s_.channels;
    const int64_t first_row = (line * s_.out_width + tile.column) * s_.samples + tile.sample;
    for (int64_t half = 0; half < 2 * vectors; ++half) {
      const int64_t d = block * most_vectors * lanes + half * 16;
      if (d >= s_.outputs) break;
      finish(counts_.get() + half * 16, vectors * lanes, tile.rows, products, first_row, d);
    }
  }

  void add_sums() const {
    for (int64_t d = 0; d < s_.outputs; ++d) {
      __atomic_fetch_add(a_.sum + d, sum_[d], __ATOMIC_RELAXED);
      __atomic_fetch_add(a_.square + d, square_[d], __ATOMIC_RELAXED);
    }
  }

 private:
  int64_t find_terms(int64_t line, const Tile& tile, int64_t block) {
    const int64_t words = weights_.words, step = steps * lanes * weights_.vectors_of(block);
    int64_t count = 0;
    for (int64_t kh = 0; kh < s_.kernel_height; ++kh) {
      const int64_t h = line * s_.stride[0] + kh * s_.dilation[0] - s_.padding[0];
      if (h < 0 || h >= s_.height) continue;
      for (int64_t kw = 0; kw < s_.kernel_width; ++kw) {
        const int64_t w = tile.column * s_.stride[1] + kw * s_.dilation[1] - s_.padding[1];
        if (w < 0 || w >= s_.width) continue;
        const int64_t first = (kh * s_.kernel_width + kw) * words, pixel = (h * s_.width + w) * s_.samples;
        for (int64_t i = 0; i < words; ++i) {
          terms_[count++] = {x_ + (pixel * words + i) * steps, weights_.of(block) + (first + i) * step};
        }
      }
    }
    return count;
  }

  // Results of 16 outputs from `d` on, whose counts begin at `counts` and rows are `stride` apart.
  void finish(const uint16_t* counts, int64_t stride, int64_t rows, int64_t products, int64_t first_row, int64_t d) {
    const int64_t outputs = smaller(16, s_.outputs - d);
    const __m256i most = _mm256_set1_epi16(static_cast<short>(products));
    // Sums of this many squares fit 32 bits without a sign.
    const int64_t rows_together = products == 0 ? rows : larger(2, UINT32_MAX / (products * products) / 2 * 2);
    const auto result = [&](int64_t r) {
      const __m256i count = load(counts + r * stride);
      const __m256i y = _mm256_sub_epi16(most, _mm256_add_epi16(count, count));
      int16_t* out = a_.y + (first_row + r) * s_.outputs + d;
      if (outputs == 16) {
        store(out, y);
      } else {
        int16_t some[16];
        store(some, y);
        std::memcpy(out, some, sizeof(int16_t) * static_cast<size_t>(outputs));
      }
      return y;
    };
    for (int64_t begin = 0; begin < rows; begin += rows_together) {
      const __m256i ones = _mm256_set1_epi16(1);
      __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, square[2] = {sum[0], sum[0]};
      const int64_t end = smaller(rows, begin + rows_together);
      for (int64_t r = begin; r < end; r += 2) {
        const __m256i y = result(r), next = r + 1 < end ? result(r + 1) : _mm256_setzero_si256();
        const __m256i low = _mm256_unpacklo_epi16(y, next), high = _mm256_unpackhi_epi16(y, next);
        sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(low, ones));
        sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(high, ones));
        square[0] = _mm256_add_epi32(square[0], _mm256_madd_epi16(low, low));
        square[1] = _mm256_add_epi32(square[1], _mm256_madd_epi16(high, high));
      }
      int32_t sums[16];
      uint32_t squares[16];
      for (int i = 0; i < 2; ++i) {
        store(sums + 8 * i, sum[i]);
        store(squares + 8 * i, square[i]);
      }
      for (int64_t i = 0; i < 16; ++i) {  // the vectors hold channels 0 .. 3 and 8 .. 11, then the others
        const int64_t place = i / 4 % 2 * 8 + i / 8 * 4 + i % 4;
        sum_[d + i] += sums[place];
        square_[d + i] += squares[place];
      }
    }
  }

  const HwncConvArguments& a_;
  const ConvShape& s_;
  const uint8_t* x_;
  const Weights& weights_;
  Buffer<Term> terms_;
  Buffer<uint16_t> counts_;        // [row][vector][lane]
  Buffer<int64_t> sum_, square_;   // [output], past the last whatever
};

}  // namespace

namespace avx2 {

void hwnc_binary_conv2d(const HwncConvArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  for (int64_t d = 0; d < s.outputs; ++d) a.sum[d] = a.square[d] = 0;
  const Weights weights(a, threads);
  const int64_t words = s.height * s.width * s.samples * weights.words;
  const Buffer<uint8_t> x(words * steps);
  parallel(threads, words, steps, [&](int64_t begin, int64_t end) {
    expand_input(a.x + begin, end - begin, x.get() + begin * steps);
  });
  const Tiles tiles(s);
  const int64_t count = s.out_height * tiles.count * weights.blocks;
  parallel_products(threads, count, products_of(s, s.samples, s.outputs), products_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, x.get(), weights);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i / weights.blocks;
      worker.compute(tile / tiles.count, tiles.data[tile % tiles.count], i % weights.blocks);
    }
    worker.add_sums();
  });
}

}  // namespace avx2
}  // namespace fqt
