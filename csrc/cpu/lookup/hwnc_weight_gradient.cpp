// dL/dW of fused chains: corr(q, Xb) for the kept output channels by table look-up (code_products.h), then scale and offset.
//
// Rows are kept channels, lanes are input channels, and a step is four samples of one pixel. The input becomes indices once per
// call. Tables are built for four kept channels and as many output pixels as a first-level cache takes, and serve all taps and
// up to 512 input channels.
#include "../kernels.h"
#include "code_products.h"

namespace fqt {
namespace {

constexpr int64_t blocks_together = 16;  // of input channels, whose sums are kept for all taps

// The input as indices [block of channels][pixel][step][lane], and its signs' sums over what each tap meets [tap][channel].
struct Input {
  int64_t steps, blocks, padded, pixels;
  Buffer<uint8_t> indices;
  Buffer<float> constants;

  Input(const HwncWeightGradientArguments& a, const Threads& threads)
      : steps(ceil_div(a.shape.samples, 4)),
        blocks(ceil_div(a.shape.channels, lanes)),
        padded(blocks * lanes),
        pixels(a.shape.height * a.shape.width),
        indices(blocks * pixels * steps * lanes),
        constants(a.shape.kernel_height * a.shape.kernel_width * padded) {
    const ConvShape& s = a.shape;
    const int64_t words = ceil_div(s.channels, 64);
    parallel(threads, blocks, pixels * s.samples * lanes / 4, [&](int64_t begin, int64_t end) {
      const Buffer<int32_t> signs(pixels * lanes);
      for (int64_t block = begin; block < end; ++block) {
        std::memset(signs.get(), 0, sizeof(int32_t) * static_cast<size_t>(signs.count()));
        for (int64_t p = 0; p < pixels; ++p) {
          int32_t* sum = signs.get() + p * lanes;
          expand_indices(a.x + p * s.samples * words + block / 2, words, s.samples, block % 2 * 4,
                         indices.get() + (block * pixels + p) * steps * lanes, sum);
          for (int64_t c = 0; c < lanes; ++c) sum[c] = static_cast<int32_t>(2 * sum[c] - s.samples);
        }
        add_up(s, signs.get(), constants.get() + block * lanes);
      }
    });
  }

 private:
  // Sums of the signs of one block over the input pixels that each tap meets.
  void add_up(const ConvShape& s, const int32_t* signs, float* sums) const {
    const Buffer<int32_t> columns(s.width * lanes);
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      const int64_t dh = kh * s.dilation[0] - s.padding[0];
      const Interval lines = outputs_inside(dh, s.stride[0], s.height, s.out_height);
      std::memset(columns.get(), 0, sizeof(int32_t) * static_cast<size_t>(columns.count()));
      for (int64_t oh = lines.begin; oh < lines.end; ++oh) {
        const int32_t* line = signs + (oh * s.stride[0] + dh) * s.width * lanes;
        for (int64_t i = 0; i < s.width * lanes; ++i) columns[i] += line[i];
      }
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t dw = kw * s.dilation[1] - s.padding[1];
        const Interval inside = outputs_inside(dw, s.stride[1], s.width, s.out_width);
        int32_t sum[lanes] = {};
        for (int64_t ow = inside.begin; ow < inside.end; ++ow) {
          const int32_t* column = columns.get() + (ow * s.stride[1] + dw) * lanes;
          for (int64_t c = 0; c < lanes; ++c) sum[c] += column[c];
        }
        float* out = sums + (kh * s.kernel_width + kw) * padded;
        for (int64_t c = 0; c < lanes; ++c) out[c] = static_cast<float>(sum[c]);
      }
    }
  }
};

// Computes up to four kept channels times up to blocks_together blocks of input channels.
class Worker {
 public:
  Worker(const HwncWeightGradientArguments& a, const Input& input, const Planes& planes)
      : a_(a),
        s_(a.shape),
        input_(input),
        planes_(planes),
        products_(products_for(planes)),
        taps_(s_.kernel_height * s_.kernel_width),
        most_pixels_(larger(1, steps_together / larger(1, input.steps))),
        plane_bytes_(steps_together * step_bytes),
        tables_(planes.count * plane_bytes_),
        pixel_totals_(most_pixels_ * table_rows),
        segments_(most_pixels_),
        sums_(taps_ * table_rows * blocks_together * lanes),
        totals_(taps_ * table_rows) {}

  void compute(int64_t row, int64_t block) {
    row_ = row;
    rows_ = smaller(table_rows, a_.kept - row);
    block_ = block;
    blocks_ = smaller(blocks_together, input_.blocks - block);
    std::memset(sums_.get(), 0, sizeof(int32_t) * static_cast<size_t>(sums_.count()));
    std::memset(totals_.get(), 0, sizeof(int32_t) * static_cast<size_t>(totals_.count()));
    const int64_t pixels = s_.out_height * s_.out_width;
    for (int64_t step = 0; step < input_.steps; step += steps_together) {
      for (int64_t p = 0; p < pixels; p += most_pixels_) {
        first_step_ = step;
        steps_ = smaller(steps_together, input_.steps - step);
        first_ = p;
        end_ = smaller(pixels, p + most_pixels_);
        build();
        for (int64_t tap = 0; tap < taps_; ++tap) add_tap(tap);
      }
    }
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t tap = 0; tap < taps_; ++tap) finish(tap, r);
    }
  }

 private:
  // Tables of the pixels in hand, [plane][pixel][step], and sums of their codes.
  void build() {
    const int64_t samples = round_up(s_.samples, 4), codes_in_hand = 4 * steps_;
    for (int64_t p = first_; p < end_; ++p) {
      const uint8_t* codes = a_.codes + (p * a_.kept + row_) * samples + 4 * first_step_;
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        uint8_t* tables = tables_.get() + plane * plane_bytes_ + (p - first_) * steps_ * step_bytes;
        build_tables(codes, rows_, samples, codes_in_hand, plane, tables);
      }
      for (int64_t r = 0; r < rows_; ++r) {
        pixel_totals_[(p - first_) * table_rows + r] = sum_of_codes(codes + r * samples, codes_in_hand);
      }
    }
  }

  void add_tap(int64_t tap) {
    const int64_t count = find_segments(tap / s_.kernel_width * s_.dilation[0] - s_.padding[0],
                                        tap % s_.kernel_width * s_.dilation[1] - s_.padding[1],
                                        totals_.get() + tap * table_rows);
    if (count == 0) return;
    for (int64_t plane = 0; plane < planes_.count; ++plane) {
      for (int64_t i = 0; i < blocks_; ++i) {
        products_(segments_.get(), count, plane * plane_bytes_, (block_ + i) * input_.pixels * input_.steps * lanes,
                  static_cast<int>(4 * plane), sums_of(tap, 0) + i * lanes, blocks_together * lanes);
      }
    }
  }

  // What a tap joins among the pixels in hand; adds their sums of codes to `totals`.
  int64_t find_segments(int64_t dh, int64_t dw, int32_t* totals) {
    const Interval lines = outputs_inside(dh, s_.stride[0], s_.height, s_.out_height);
    const Interval inside = outputs_inside(dw, s_.stride[1], s_.width, s_.out_width);
    // Neighbours stand one after the other in tables and indices alike if no step is left out.
    const bool joined = s_.stride[1] == 1 && steps_ == input_.steps;
    int64_t count = 0;
    for (int64_t p = first_; p < end_;) {
      const int64_t oh = p / s_.out_width, line = oh * s_.out_width;
      const int64_t begin = larger(p, line + inside.begin), end = smaller(end_, line + inside.end);
      p = smaller(end_, line + s_.out_width);
      if (oh < lines.begin || oh >= lines.end || begin >= end) continue;
      const int64_t h = oh * s_.stride[0] + dh, together = joined ? end - begin : 1;
      for (int64_t i = begin; i < end; i += together) {
        const int64_t pixel = h * s_.width + (i - line) * s_.stride[1] + dw;
        segments_[count++] = {tables_.get() + (i - first_) * steps_ * step_bytes,
                              input_.indices.get() + (pixel * input_.steps + first_step_) * lanes, steps_ * together};
      }
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t r = 0; r < table_rows; ++r) totals[r] += pixel_totals_[(i - first_) * table_rows + r];
      }
    }
    return count;
  }

  int32_t* sums_of(int64_t tap, int64_t r) const {
    return sums_.get() + (tap * table_rows + r) * blocks_together * lanes;
  }

  void finish(int64_t tap, int64_t r) {
    const int64_t row = row_ + r, first = block_ * lanes, channels = smaller(blocks_ * lanes, s_.channels - first);
    const int32_t total = totals_[tap * table_rows + r];
    const int32_t* sums = sums_of(tap, r);
    const int64_t at = (row * taps_ + tap) * s_.channels + first;
    if (a_.integers != nullptr) {
      store_integers(sums, total, channels, a_.integers + at);
      return;
    }
    const float scale = a_.scale[row], offset = a_.offset[row];
    const float* constants = input_.constants.get() + tap * input_.padded + first;
    float* out = a_.result + at;
    for (int64_t c = 0; c < channels; c += 8) {
      store_some(out + c, channels - c, affine(sums + c, total, constants + c, scale, offset));
    }
  }

  const HwncWeightGradientArguments& a_;
  const ConvShape& s_;
  const Input& input_;
  const Planes& planes_;
  AddProducts products_;
  int64_t taps_, most_pixels_, plane_bytes_;
  Buffer<uint8_t> tables_;
  Buffer<int32_t> pixel_totals_;  // [pixel in hand][row]
  Buffer<Segment> segments_;      // of one tap
  Buffer<int32_t> sums_;          // [tap][row][channel of the blocks in hand]
  Buffer<int32_t> totals_;        // [tap][row]
  int64_t row_ = 0, rows_ = 0, block_ = 0, blocks_ = 0;       // in hand: kept channels, blocks of input channels,
  int64_t first_step_ = 0, steps_ = 0, first_ = 0, end_ = 0;  // steps, and output pixels
};

}  // namespace

namespace FQT_ISA {

void hwnc_weight_gradient(const HwncWeightGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Planes planes(a.codes, s.out_height * s.out_width * a.kept * round_up(s.samples, 4));
  const Input input(a, threads);
  const int64_t parts = ceil_div(input.blocks, blocks_together);
  const int64_t count = ceil_div(a.kept, table_rows) * parts;
  parallel_products(threads, count, products_of(s, s.samples, a.kept), products_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, input, planes);
    for (int64_t i = begin; i < end; ++i) worker.compute(i / parts * table_rows, i % parts * blocks_together);
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
