// corr(q, Xb) for the kept output channels: for each tap, kept channel and input channel, a sum over (output pixel, sample).
//
// Rows of a block (lookup.h) are kept channels; its terms are output pixels. The input becomes indices once, for all rows and
// taps; the codes of some output pixels become tables that serve all taps and input channels.
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "lookup.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 256;  // in the time that `parallel` counts in
constexpr int64_t together = 64 << 10;  // bytes of tables of the output pixels that are taken together

struct Layout {
  int64_t taps, blocks, steps, pixels, out_pixels;
  int64_t pixel_indices, pixel_tables;  // bytes
  int64_t most;                         // output pixels that are taken together

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        blocks(ceil_div(s.channels, block_channels)),
        steps(ceil_div(s.samples, step_codes)),
        pixels(s.height * s.width),
        out_pixels(s.out_height * s.out_width),
        pixel_indices(steps * step_indices),
        pixel_tables(planes * steps * step_tables),
        most(smaller(out_pixels, larger(1, together / larger(1, steps * step_tables)))) {}

  int64_t channels() const { return blocks * block_channels; }
};

// The input as indices, [block of channels][pixel], and corr(1, Xb), [tap][channel].
struct Input {
  Buffer<uint8_t> indices;
  Buffer<float> constants;

  Input(const HwncWeightGradientArguments& a, const Layout& l, const Threads& threads)
      : indices(l.blocks * l.pixels * l.pixel_indices, Contents::any), constants(l.taps * l.channels(), Contents::any) {
    const ConvShape& s = a.shape;
    const Buffer<int32_t> ones(l.pixels * l.channels(), Contents::any);
    parallel(threads, l.pixels * l.blocks, s.samples * block_channels / 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t p = i / l.blocks, block = i % l.blocks;
        build_indices(a.x + p * s.samples * l.blocks + block, l.blocks, s.samples,
                      indices.get() + (block * l.pixels + p) * l.pixel_indices,
                      ones.get() + p * l.channels() + block * block_channels);
      }
    });
    parallel(threads, l.taps, l.out_pixels * l.channels(), [&](int64_t begin, int64_t end) {
      for (int64_t tap = begin; tap < end; ++tap) {
        weight_constants(s, tap, ones.get(), l.channels(), constants.get() + tap * l.channels());
      }
    });
  }
};

// One block of rows; some of its sums, numbered [block of channels][tap].
class Worker {
 public:
  Worker(const HwncWeightGradientArguments& a, const Layout& l, const Input& input, int64_t most_sums)
      : a_(a),
        l_(l),
        input_(input),
        tables_(l.most * l.pixel_tables, Contents::any),
        totals_(l.most),
        terms_(l.taps * l.most),
        high_terms_(l.taps * l.most),
        of_tap_(l.taps),
        sums_(most_sums * block_size, Contents::any) {}

  void compute(int64_t row_block, int64_t begin, int64_t end) {
    first_ = row_block * block_rows;
    rows_ = smaller(block_rows, a_.kept - first_);
    std::memset(sums_.get(), 0, sizeof(int32_t) * static_cast<size_t>((end - begin) * block_size));
    std::memset(of_tap_.get(), 0, sizeof(Tap) * static_cast<size_t>(l_.taps));
    for (int64_t pixel = 0; pixel < l_.out_pixels; pixel += l_.most) {
      load(pixel, smaller(l_.most, l_.out_pixels - pixel));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i / l_.taps, tap = i % l_.taps;
        const uint8_t* indices = input_.indices.get() + block * l_.pixels * l_.pixel_indices;
        int32_t* sums = sums_.get() + (i - begin) * block_size;
        accumulate<0>(terms_.get() + tap * l_.most, of_tap_[tap].terms, l_.steps, indices, rows_, sums);
        if (of_tap_[tap].high_terms != 0) {
          accumulate<1>(high_terms_.get() + tap * l_.most, of_tap_[tap].high_terms, l_.steps, indices, rows_, sums);
        }
      }
    }
    for (int64_t i = begin; i < end; ++i) store(i / l_.taps, i % l_.taps, sums_.get() + (i - begin) * block_size);
  }

 private:
  struct Tap {
    int64_t terms, high_terms;
    int32_t total[block_rows];
  };

  // Takes up `count` output pixels: their tables, and for each tap those that it joins with a pixel of the input.
  void load(int64_t first_pixel, int64_t count) {
    const ConvShape& s = a_.shape;
    const int64_t row = round_up(s.samples, 4), pixel_codes = a_.kept * row;
    for (int64_t tap = 0; tap < l_.taps; ++tap) of_tap_[tap].terms = of_tap_[tap].high_terms = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t pixel = first_pixel + i;
      uint8_t* tables = tables_.get() + i * l_.pixel_tables;
      const uint8_t* codes = a_.codes + pixel * pixel_codes + first_ * row;
      const int64_t ahead = pixel + 1 < l_.out_pixels ? pixel_codes : 0;
      totals_[i] = build_tables(codes, row, rows_, s.samples, ahead, tables);
      const int64_t top = pixel / s.out_width * s.stride[0] - s.padding[0];
      const int64_t left = pixel % s.out_width * s.stride[1] - s.padding[1];
      for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
        const int64_t h = top + kh * s.dilation[0];
        if (h < 0 || h >= s.height) continue;
        for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
          const int64_t w = left + kw * s.dilation[1];
          if (w < 0 || w >= s.width) continue;
          join(kh * s.kernel_width + kw, totals_[i], {tables, (h * s.width + w) * l_.pixel_indices});
        }
      }
    }
  }

  void join(int64_t number, const Totals& totals, const Term& term) {
    Tap& tap = of_tap_[number];
    terms_[number * l_.most + tap.terms++] = term;
    if (totals.high) high_terms_[number * l_.most + tap.high_terms++] = term;
    for (int64_t r = 0; r < block_rows; ++r) tap.total[r] += totals.row[r];
  }

  void store(int64_t block, int64_t tap, const int32_t* sums) const {
    const int64_t channels = a_.shape.channels, channel = block * block_channels;
    const float* constants = input_.constants.get() + tap * l_.channels() + channel;
    for (int64_t half = 0; 4 * half < rows_; ++half) {
      Rows rows;
      rows.count = smaller(4, rows_ - 4 * half);
      for (int64_t i = 0; i < rows.count; ++i) {
        const int64_t r = first_ + 4 * half + i;
        const int64_t at = (r * l_.taps + tap) * channels + channel;
        rows.total[i] = of_tap_[tap].total[4 * half + i];
        if (a_.integers != nullptr) {
          rows.integers[i] = a_.integers + at;
          continue;
        }
        rows.scale[i] = a_.scale[r];
        rows.offset[i] = a_.offset[r];
        rows.inside[i] = ~uint64_t{0};
        rows.result[i] = a_.result + at;
      }
      const int64_t present = smaller(block_channels, channels - channel);
      if (a_.integers != nullptr) {
        store_integers(sums, half, rows, present);
      } else {
        store_rows(sums, half, rows, constants, present);
      }
    }
  }

  const HwncWeightGradientArguments& a_;
  const Layout& l_;
  const Input& input_;
  Buffer<uint8_t> tables_;  // [output pixel]
  Buffer<Totals> totals_;   // likewise
  Buffer<Term> terms_;      // [tap][up to most]
  Buffer<Term> high_terms_;
  Buffer<Tap> of_tap_;
  Buffer<int32_t> sums_;
  int64_t first_ = 0, rows_ = 0;
};

}  // namespace

namespace avx512 {

void hwnc_weight_gradient(const HwncWeightGradientArguments& a, const Threads& threads) {
  const Layout l(a.shape);
  const Input input(a, l, threads);
  const int64_t of_row_block = l.blocks * l.taps;
  const int64_t count = ceil_div(a.kept, block_rows) * of_row_block;
  parallel_products(threads, count, products_of(a.shape, a.shape.samples, a.kept), products_per_number,
                    [&](int64_t begin, int64_t end) {
    Worker worker(a, l, input, smaller(of_row_block, end - begin));
    for (int64_t i = begin; i < end;) {
      const int64_t row_block = i / of_row_block, first = row_block * of_row_block;
      const int64_t last = smaller(end, first + of_row_block);
      worker.compute(row_block, i - first, last - first);
      i = last;
    }
  });
}

}  // namespace avx512
}  // namespace fqt
