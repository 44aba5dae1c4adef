// One bit times one bit for fused chains: K - 2 * popcount(x XOR w) over the taps that lie inside the input.
//
// A byte of x meets the same byte of 16 outputs' weights, and each lane counts for its own output:
//
//     for each tap, word, byte:   sum[row][output] += CNT(x byte EOR w bytes)      rows x outputs in registers
//
// The input of a panel of rows is gathered to [row][tap][word]; its rows share the list of where the weights of their words are.
#include <arm_neon.h>

#include "../hwnc_product.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 128;  // in the time that `parallel` counts in
constexpr int64_t lanes = 16;          // outputs in a vector
constexpr int64_t steps = 8;           // bytes of a word
constexpr int64_t words_together = 3;  // 3 words * 64 bits fit a byte
constexpr int64_t most_vectors = 4;    // of outputs, in a block
constexpr int64_t row_unit = 4;        // rows that are summed together
constexpr int64_t panel_rows = 64;     // which share each load of weights into the first-level cache; a multiple of row_unit
constexpr int64_t tasks_wanted = 64;

// Weights as [block of outputs][tap][word][byte][vector][lane]; the last block has fewer vectors than the others. Outputs past the
// last are zero.
struct Weights {
  int64_t words, taps, vectors, blocks;
  Buffer<uint8_t> bytes;

  explicit Weights(const HwncConvArguments& a)
      : words(ceil_div(a.shape.channels, 64)),
        taps(a.shape.kernel_height * a.shape.kernel_width),
        vectors(ceil_div(a.shape.outputs, lanes)),
        blocks(ceil_div(vectors, most_vectors)),
        bytes(vectors * taps * words * steps * lanes) {
    const auto* in = reinterpret_cast<const uint8_t*>(a.weight);
    const int64_t size = taps * words * steps;
    for (int64_t d = 0; d < a.shape.outputs; ++d) {
      const int64_t block = d / lanes / most_vectors, stride = vectors_of(block) * lanes;
      uint8_t* out = of(block) + d % (most_vectors * lanes);
      for (int64_t i = 0; i < size; ++i) out[i * stride] = in[d * size + i];
    }
  }

  int64_t vectors_of(int64_t block) const { return smaller(most_vectors, vectors - block * most_vectors); }
  uint8_t* of(int64_t block) const { return bytes.get() + block * most_vectors * taps * words * steps * lanes; }
};

// The rows of a panel, their input, and which of an output's words each of its words meets. Rows past the last, up to whole
// row_units, hold whatever was there before.
struct Gathered {
  Buffer<uint64_t> x;
  Buffer<int64_t> places;
  int64_t y_rows[panel_rows];
  int64_t count = 0, words = 0;

  explicit Gathered(const Weights& w) : x(panel_rows * w.taps * w.words), places(w.taps * w.words) {}

  void load(const HwncConvArguments& a, const Weights& w, const Panel& panel) {
    const ConvShape& s = a.shape;
    int64_t x_rows[panel_rows];
    for_each_row(s, panel, [&](int64_t i, int64_t x_row, int64_t y_row) {
      x_rows[i] = x_row;
      y_rows[i] = y_row;
    });
    count = panel.count;
    words = panel.taps() * w.words;
    int64_t at = 0;
    for (int64_t kh = 0; kh < panel.lines.taps(); ++kh) {
      for (int64_t kw = 0; kw < panel.columns.taps(); ++kw, at += w.words) {
        const int64_t tap = (panel.lines.tap_begin + kh) * s.kernel_width + panel.columns.tap_begin + kw;
        for (int64_t i = 0; i < w.words; ++i) places[at + i] = tap * w.words + i;
        const int64_t pixel = (kh * s.dilation[0] * s.width + kw * s.dilation[1]) * s.samples;
        for (int64_t r = 0; r < count; ++r) {
          const uint64_t* in = a.x + (pixel + x_rows[r]) * w.words;
          for (int64_t i = 0; i < w.words; ++i) x[r * words + at + i] = in[i];
        }
      }
    }
  }
};

// sums[row][vector][lane] += differing bits of row_unit rows and some vectors of outputs in up to words_together words. x points
// to the first row's words, which stand `row_bytes` apart.
template <int vectors>
inline void add_differences(const uint8_t* x, int64_t row_bytes, const uint8_t* weights, const int64_t* places, int64_t words,
                            uint16_t* sums) {
  uint8x16_t bits[row_unit][vectors];
  for (auto& of_row : bits) {
    for (auto& v : of_row) v = vdupq_n_u8(0);
  }
  for (int64_t i = 0; i < words; ++i) {
    const uint8_t* of_word = weights + places[i] * steps * vectors * lanes;
#pragma GCC unroll 8
    for (int64_t step = 0; step < steps; ++step) {
      uint8x16_t w[vectors];
      for (int v = 0; v < vectors; ++v) w[v] = vld1q_u8(of_word + (step * vectors + v) * lanes);
      for (int64_t r = 0; r < row_unit; ++r) {
        const uint8x16_t byte = vld1q_dup_u8(x + r * row_bytes + i * steps + step);
        for (int v = 0; v < vectors; ++v) {
          bits[r][v] = vaddq_u8(bits[r][v], vcntq_u8(veorq_u8(byte, w[v])));
          asm("" : "+w"(bits[r][v]));  // else compilers put off additions, with more counts in flight than there are registers
        }
      }
    }
  }
  for (int64_t r = 0; r < row_unit; ++r) {
    for (int v = 0; v < vectors; ++v) {
      uint16_t* sum = sums + (r * vectors + v) * lanes;
      vst1q_u16(sum, vaddw_u8(vld1q_u16(sum), vget_low_u8(bits[r][v])));
      vst1q_u16(sum + 8, vaddw_u8(vld1q_u16(sum + 8), vget_high_u8(bits[r][v])));
    }
  }
}

// The same for all rows of a panel and all words.
template <int vectors>
void count_differences(const Gathered& rows, const uint8_t* weights, uint16_t* sums) {
  const int64_t present = round_up(rows.count, row_unit), row_bytes = rows.words * steps;
  std::memset(sums, 0, sizeof(uint16_t) * static_cast<size_t>(present * vectors * lanes));
  const auto* x = reinterpret_cast<const uint8_t*>(rows.x.get());
  for (int64_t i = 0; i < rows.words; i += words_together) {
    const int64_t some = smaller(words_together, rows.words - i);
    for (int64_t r = 0; r < present; r += row_unit) {
      add_differences<vectors>(x + r * row_bytes + i * steps, row_bytes, weights, rows.places.get() + i, some,
                               sums + r * vectors * lanes);
    }
  }
}

using CountDifferences = void (*)(const Gathered&, const uint8_t*, uint16_t*);
constexpr CountDifferences count_by_vectors[most_vectors] = {count_differences<1>, count_differences<2>, count_differences<3>,
                                                             count_differences<4>};

// Results of up to 16 outputs from `first` on, whose counts begin at `counts` and rows are `stride` apart; and their sums.
void finish(const HwncConvArguments& a, const Gathered& rows, const uint16_t* counts, int64_t stride, int64_t terms,
            int64_t first, const Moments& moments) {
  const int64_t outputs = smaller(lanes, a.shape.outputs - first);
  int32_t sum[lanes] = {};
  int64_t square[lanes] = {};
  for (int64_t r = 0; r < rows.count; ++r) {
    int16_t values[lanes];
    for (int64_t d = 0; d < lanes; ++d) {
      const int32_t value = static_cast<int32_t>(terms) - 2 * counts[r * stride + d];
      values[d] = static_cast<int16_t>(value);
      sum[d] += value;
      square[d] += int64_t{value} * value;
    }
    std::memcpy(a.y + rows.y_rows[r] * a.shape.outputs + first, values, sizeof(int16_t) * static_cast<size_t>(outputs));
  }
  for (int64_t d = 0; d < outputs; ++d) {
    moments.sum()[first + d] += sum[d];
    moments.square()[first + d] += square[d];
  }
}

}  // namespace

namespace neon {

void hwnc_binary_conv2d(const HwncConvArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Weights weights(a);
  clear(a.sum, s.outputs);
  clear(a.square, s.outputs);
  // Few panels are cut along the outputs too, so that there is work for all threads.
  const Panels panels(s, panel_rows);
  const int64_t parts = larger(1, smaller(weights.blocks, tasks_wanted / larger(1, panels.count())));
  parallel_products(threads, panels.count() * parts, products_of(s, s.samples, s.outputs), products_per_number,
                    [&](int64_t begin, int64_t end) {
    Gathered rows(weights);
    const Buffer<uint16_t> counts(panel_rows * most_vectors * lanes);
    const Moments moments(s.outputs);
    for (int64_t i = begin; i < end; ++i) {
      const Panel panel = panels[i / parts];
      const int64_t part = i % parts;
      rows.load(a, weights, panel);
      for (int64_t block = part * weights.blocks / parts; block < (part + 1) * weights.blocks / parts; ++block) {
        const int64_t vectors = weights.vectors_of(block);
        count_by_vectors[vectors - 1](rows, weights.of(block), counts.get());
        for (int64_t v = 0; v < vectors; ++v) {
          finish(a, rows, counts.get() + v * lanes, vectors * lanes, panel.taps() * s.channels,
                 (block * most_vectors + v) * lanes, moments);
        }
      }
    }
    moments.merge(s.outputs, a.sum, a.square);
  });
}

}  // namespace neon
}  // namespace fqt
