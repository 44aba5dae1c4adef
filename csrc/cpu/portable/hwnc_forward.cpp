// One bit times one bit: K - 2 * popcount(x XOR w), over the taps that lie inside the input.
//
// Weights are laid out as [block of outputs][tap][word][output]. The input of a panel of rows is gathered to [row][tap][word];
// its rows share the list of where the weights of their words are.
#include "../hwnc_product.h"
#include "../kernels.h"
#include "bits.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 64;  // in the time that `parallel` counts in
constexpr int64_t panel_rows = 32;
constexpr int64_t tasks_wanted = 64;

struct Layout {
  int64_t words, taps, blocks;  // words of a tap; blocks of outputs

  explicit Layout(const ConvShape& s)
      : words(ceil_div(s.channels, 64)), taps(s.kernel_height * s.kernel_width), blocks(ceil_div(s.outputs, block)) {}
  int64_t size() const { return taps * words; }  // words of an output
};

// Outputs past the last are zero.
void pack_weights(const uint64_t* weight, const ConvShape& s, const Layout& l, uint64_t* packed) {
  for (int64_t d = 0; d < s.outputs; ++d) {
    uint64_t* out = packed + d / block * l.size() * block + d % block;
    for (int64_t i = 0; i < l.size(); ++i) out[i * block] = weight[d * l.size() + i];
  }
}

// The rows of a panel, their input, and where in a block the weights of each word are.
struct Gathered {
  Buffer<uint64_t> x;
  Buffer<int64_t> places;
  int64_t x_rows[panel_rows], y_rows[panel_rows];
  int64_t count = 0, words = 0;

  explicit Gathered(const Layout& l) : x(panel_rows * l.size()), places(l.size()) {}

  void load(const HwncConvArguments& a, const Layout& l, const Panel& panel) {
    const ConvShape& s = a.shape;
    for_each_row(s, panel, [&](int64_t i, int64_t x_row, int64_t y_row) {
      x_rows[i] = x_row;
      y_rows[i] = y_row;
    });
    count = panel.count;
    words = panel.taps() * l.words;
    int64_t at = 0;
    for (int64_t kh = 0; kh < panel.lines.taps(); ++kh) {
      for (int64_t kw = 0; kw < panel.columns.taps(); ++kw, at += l.words) {
        const int64_t tap = (panel.lines.tap_begin + kh) * s.kernel_width + panel.columns.tap_begin + kw;
        for (int64_t i = 0; i < l.words; ++i) places[at + i] = (tap * l.words + i) * block;
        const int64_t pixel = (kh * s.dilation[0] * s.width + kw * s.dilation[1]) * s.samples;
        for (int64_t r = 0; r < count; ++r) {
          const uint64_t* in = a.x + (pixel + x_rows[r]) * l.words;
          for (int64_t i = 0; i < l.words; ++i) x[r * words + at + i] = in[i];
        }
      }
    }
  }
};

void product(const HwncConvArguments& a, const Layout& l, const Gathered& rows, int64_t terms, const uint64_t* weight,
             int64_t index, const Moments& moments) {
  const int64_t first = index * block, outputs = smaller(block, a.shape.outputs - first);
  int64_t sum[block] = {}, square[block] = {};
  uint64_t counts[block];
  for (int64_t r = 0; r < rows.count; ++r) {
    differing_bits(rows.x.get() + r * rows.words, weight + first * l.size(), rows.places.get(), rows.words, counts);
    int16_t* y = a.y + rows.y_rows[r] * a.shape.outputs + first;
    for (int64_t d = 0; d < outputs; ++d) {
      const int64_t v = terms - 2 * static_cast<int64_t>(counts[d]);
      y[d] = static_cast<int16_t>(v);
      sum[d] += v;
      square[d] += v * v;
    }
  }
  for (int64_t d = 0; d < outputs; ++d) {
    moments.sum()[first + d] += sum[d];
    moments.square()[first + d] += square[d];
  }
}

}  // namespace

namespace portable {

void hwnc_binary_conv2d(const HwncConvArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Buffer<uint64_t> weight(l.blocks * l.size() * block);
  pack_weights(a.weight, s, l, weight.get());
  clear(a.sum, s.outputs);
  clear(a.square, s.outputs);
  // Few panels are cut along the outputs too, so that there is work for all threads.
  const Panels panels(s, panel_rows);
  const int64_t parts = larger(1, smaller(l.blocks / 8, tasks_wanted / larger(1, panels.count())));
  parallel_products(threads, panels.count() * parts, products_of(s, s.samples, s.outputs), products_per_number,
                    [&](int64_t first, int64_t last) {
    Gathered rows(l);
    const Moments moments(s.outputs);
    for (int64_t i = first; i < last; ++i) {
      const Panel panel = panels[i / parts];
      const int64_t part = i % parts, begin = part * l.blocks / parts, end = (part + 1) * l.blocks / parts;
      rows.load(a, l, panel);
      for (int64_t b = begin; b < end; ++b) product(a, l, rows, panel.taps() * s.channels, weight.get(), b, moments);
    }
    moments.merge(s.outputs, a.sum, a.square);
  });
}

}  // namespace portable
}  // namespace fqt
