// convT(q, Wb) for the kept samples: for each input pixel, sample and channel, a sum over (tap, output channel).
//
// Rows of a block (lookup.h) are kept samples; its terms are the taps that reach the input pixel. The codes of an output pixel
// become tables once, for all taps and channels, and are kept for as many lines as one line of input needs.
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "lookup.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 256;  // in the time that `parallel` counts in

struct Layout {
  int64_t taps, blocks, steps;
  int64_t tap_indices, pixel_tables;  // bytes

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        blocks(ceil_div(s.channels, block_channels)),
        steps(ceil_div(s.outputs, step_codes)),
        tap_indices(steps * step_indices),
        pixel_tables(planes * steps * step_tables) {}

  int64_t channels() const { return blocks * block_channels; }
};

// The weights as indices, [block of channels][tap], and convT(1, Wb) for each kind of pixel.
struct Weights {
  Buffer<uint8_t> indices;
  Buffer<float> constants;

  Weights(const HwncInputGradientArguments& a, const Layout& l, const AxisTaps& lines, const AxisTaps& columns,
          const Threads& threads)
      : indices(l.blocks * l.taps * l.tap_indices, Contents::any),
        constants(lines.kinds() * columns.kinds() * l.channels(), Contents::any) {
    const ConvShape& s = a.shape;
    const Buffer<int32_t> ones(l.taps * l.channels(), Contents::any);
    parallel(threads, l.blocks * l.taps, s.outputs * block_channels / 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i / l.taps, tap = i % l.taps;
        build_indices(a.weight + tap * l.blocks + block, l.taps * l.blocks, s.outputs, indices.get() + i * l.tap_indices,
                      ones.get() + tap * l.channels() + block * block_channels);
      }
    });
    input_constants(s, lines, columns, ones.get(), l.channels(), constants.get());
  }
};

// One block of rows on its way down the lines of the input.
class Worker {
 public:
  Worker(const HwncInputGradientArguments& a, const Layout& l, const AxisTaps& lines, const AxisTaps& columns,
         const Weights& weights)
      : a_(a),
        l_(l),
        lines_(lines),
        columns_(columns),
        weights_(weights),
        tables_(lines.span() * a.shape.out_width * l.pixel_tables, Contents::any),
        totals_(lines.span() * a.shape.out_width),
        line_in_slot_(lines.span()),
        terms_(a.shape.width * l.taps),
        high_terms_(a.shape.width * l.taps),
        pixels_(a.shape.width),
        sums_(block_size) {}

  void start(int64_t block) {
    first_ = block * block_rows;
    rows_ = smaller(block_rows, a_.kept - first_);
    for (int64_t slot = 0; slot < lines_.span(); ++slot) line_in_slot_[slot] = -1;
  }

  void line(int64_t h) {
    for (const AxisTaps::Source& v : lines_.of(h)) load(v.output);
    for (int64_t w = 0; w < a_.shape.width; ++w) find_terms(h, w);
    for (int64_t block = 0; block < l_.blocks; ++block) {
      const uint8_t* indices = weights_.indices.get() + block * l_.taps * l_.tap_indices;
      for (int64_t w = 0; w < a_.shape.width; ++w) {
        clear(sums_.get());
        accumulate<0>(terms_.get() + w * l_.taps, pixels_[w].terms, l_.steps, indices, rows_, sums_.get());
        if (pixels_[w].high_terms != 0) {
          accumulate<1>(high_terms_.get() + w * l_.taps, pixels_[w].high_terms, l_.steps, indices, rows_, sums_.get());
        }
        store(h, w, block);
      }
    }
  }

 private:
  struct Pixel {
    int64_t terms, high_terms;
    int32_t total[block_rows];
  };

  // Tables of an output line, unless they are there.
  void load(int64_t line) {
    const ConvShape& s = a_.shape;
    const int64_t slot = line % lines_.span();
    if (line_in_slot_[slot] == line) return;
    line_in_slot_[slot] = line;
    const int64_t pixel_codes = a_.kept * s.outputs;
    for (int64_t w = 0; w < s.out_width; ++w) {
      const uint8_t* codes = a_.codes + (line * s.out_width + w) * pixel_codes + first_ * s.outputs;
      const int64_t at = slot * s.out_width + w, ahead = w + 1 < s.out_width ? pixel_codes : 0;
      totals_[at] = build_tables(codes, s.outputs, rows_, s.outputs, ahead, tables_.get() + at * l_.pixel_tables);
    }
  }

  void find_terms(int64_t h, int64_t w) {
    Pixel pixel{};
    for (const AxisTaps::Source& vertical : lines_.of(h)) {
      for (const AxisTaps::Source& horizontal : columns_.of(w)) {
        const int64_t tap = vertical.tap * a_.shape.kernel_width + horizontal.tap;
        const int64_t at = vertical.output % lines_.span() * a_.shape.out_width + horizontal.output;
        const Term term{tables_.get() + at * l_.pixel_tables, tap * l_.tap_indices};
        terms_[w * l_.taps + pixel.terms++] = term;
        if (totals_[at].high) high_terms_[w * l_.taps + pixel.high_terms++] = term;
        for (int64_t r = 0; r < block_rows; ++r) pixel.total[r] += totals_[at].row[r];
      }
    }
    pixels_[w] = pixel;
    if (a_.integers != nullptr) return;
    for (int64_t r = first_; r < first_ + rows_; ++r) _mm_prefetch(window(h * a_.shape.width + w, r), _MM_HINT_T0);
  }

  const uint64_t* window(int64_t pixel, int64_t row) const {
    return a_.window + (pixel * a_.shape.samples + a_.index[row]) * l_.blocks;
  }

  void store(int64_t h, int64_t w, int64_t block) const {
    const int64_t channels = a_.shape.channels, channel = block * block_channels, pixel = h * a_.shape.width + w;
    const int64_t kind = lines_.kind(h) * columns_.kinds() + columns_.kind(w);
    const float* constants = weights_.constants.get() + kind * l_.channels() + channel;
    for (int64_t half = 0; 4 * half < rows_; ++half) {
      Rows rows;
      rows.count = smaller(4, rows_ - 4 * half);
      for (int64_t i = 0; i < rows.count; ++i) {
        const int64_t r = first_ + 4 * half + i;
        const int64_t at = (pixel * a_.kept + r) * channels + channel;
        rows.total[i] = pixels_[w].total[4 * half + i];
        if (a_.integers != nullptr) {
          rows.integers[i] = a_.integers + at;
          continue;
        }
        rows.scale[i] = a_.scale[r];
        rows.offset[i] = a_.offset[r];
        rows.inside[i] = window(pixel, r)[block];
        rows.result[i] = a_.result + at;
      }
      const int64_t present = smaller(block_channels, channels - channel);
      if (a_.integers != nullptr) {
        store_integers(sums_.get(), half, rows, present);
      } else {
        store_rows(sums_.get(), half, rows, constants, present);
      }
    }
  }

  const HwncInputGradientArguments& a_;
  const Layout& l_;
  const AxisTaps& lines_;
  const AxisTaps& columns_;
  const Weights& weights_;
  Buffer<uint8_t> tables_;  // [slot: output line modulo span][output column]
  Buffer<Totals> totals_;   // likewise
  Buffer<int64_t> line_in_slot_;
  Buffer<Term> terms_;  // [column][up to taps]
  Buffer<Term> high_terms_;
  Buffer<Pixel> pixels_;  // [column]
  Buffer<int32_t> sums_;
  int64_t first_ = 0, rows_ = 0;
};

}  // namespace

namespace avx512 {

void hwnc_input_gradient(const HwncInputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const AxisTaps lines(s, 0), columns(s, 1);
  const Weights weights(a, l, lines, columns, threads);
  const int64_t count = ceil_div(a.kept, block_rows) * s.height;
  parallel_products(threads, count, products_of(s, a.kept, s.outputs), products_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, l, lines, columns, weights);
    for (int64_t i = begin; i < end; ++i) {
      if (i == begin || i % s.height == 0) worker.start(i / s.height);
      worker.line(i % s.height);
    }
  });
}

}  // namespace avx512
}  // namespace fqt
