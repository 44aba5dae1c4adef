// convT(q, Wb) for the kept samples: for each input pixel, sample and channel, a sum over (tap, output channel).
//
// Vector lanes are input channels (masked_sums.h): weights become byte masks [tap][d][c], c padded to whole blocks. Rows are
// samples; the codes of an output pixel become splats, which are added to the sums of all pixels of a line that they reach.
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "masked_sums.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 16;  // in the time that `parallel` counts in

struct Layout {
  int64_t taps, words, padded;

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width), words(ceil_div(s.channels, 64)), padded(round_up(s.channels, columns)) {}
};

struct Weights {
  Buffer<uint8_t> masks;    // [tap][d][padded channel]
  Buffer<Pair> pairs;       // [d], of any tap
  Buffer<float> constants;  // [kind of line][kind of column][padded channel]

  Weights(const HwncInputGradientArguments& a, const Layout& l, const AxisTaps& lines, const AxisTaps& line)
      : masks(l.taps * a.shape.outputs * l.padded),
        pairs(a.shape.outputs),
        constants(lines.kinds() * line.kinds() * l.padded) {
    const int64_t outputs = a.shape.outputs;
    const Buffer<int32_t> ones(l.taps * l.padded);
    for (int64_t d = 0; d < outputs; ++d) {
      pairs[d] = {d, d * l.padded};
      for (int64_t tap = 0; tap < l.taps; ++tap) {
        uint8_t* mask = masks.get() + (tap * outputs + d) * l.padded;
        expand_channels(a.weight + (d * l.taps + tap) * l.words, 0, a.shape.channels, mask);
        for (int64_t c = 0; c < l.padded; ++c) ones[tap * l.padded + c] += mask[c] & 1;
      }
    }
    input_constants(a.shape, lines, line, ones.get(), l.padded, constants.get());
  }
};

// Sums of up to `rows` samples for a line of input pixels.
class Line {
 public:
  Line(const HwncInputGradientArguments& a, const Layout& l, const Planes& planes, const AxisTaps& lines,
       const AxisTaps& line, const Weights& weights)
      : a_(a),
        l_(l),
        planes_(planes),
        lines_(lines),
        line_(line),
        weights_(weights),
        splats_(planes.count * a.shape.outputs * rows * byte_lanes),
        sums_(a.shape.width * rows * l.padded),
        totals_(a.shape.width * rows) {}

  void compute(int64_t first_sample, int64_t h) {
    const ConvShape& s = a_.shape;
    first_ = first_sample;
    present_ = smaller(rows, a_.kept - first_);
    std::memset(sums_.get(), 0, sizeof(int32_t) * static_cast<size_t>(sums_.count()));
    std::memset(totals_.get(), 0, sizeof(int32_t) * static_cast<size_t>(totals_.count()));
    for (const AxisTaps::Source& vertical : lines_.of(h)) {
      for (int64_t ow = 0; ow < s.out_width; ++ow) add(vertical.tap, vertical.output, ow);
    }
    for (int64_t w = 0; w < s.width; ++w) {
      const float* constants = weights_.constants.get() + (lines_.kind(h) * line_.kinds() + line_.kind(w)) * l_.padded;
      for (int64_t r = 0; r < present_; ++r) store(h * s.width + w, constants, w * rows + r, first_ + r);
    }
  }

 private:
  // Adds what one output pixel contributes by the taps of one line of the kernel.
  void add(int64_t kh, int64_t oh, int64_t ow) {
    const ConvShape& s = a_.shape;
    const int64_t plane_size = s.outputs * rows * byte_lanes;
    int32_t totals[rows] = {};
    for (int64_t r = 0; r < present_; ++r) {
      const uint8_t* codes = a_.codes + ((oh * s.out_width + ow) * a_.kept + first_ + r) * s.outputs;
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        spread_codes(codes, s.outputs, planes_, plane, splats_.get() + plane * plane_size + r * byte_lanes);
      }
      for (int64_t d = 0; d < s.outputs; ++d) totals[r] += codes[d];
    }
    for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
      const int64_t w = ow * s.stride[1] - s.padding[1] + kw * s.dilation[1];
      if (w < 0 || w >= s.width) continue;
      const uint8_t* masks = weights_.masks.get() + (kh * s.kernel_width + kw) * s.outputs * l_.padded;
      for (int64_t c = 0; c < s.channels; c += columns) {
        for (int64_t plane = 0; plane < planes_.count; ++plane) {
          add_masked_sums(weights_.pairs.get(), s.outputs, splats_.get() + plane * plane_size, masks + c, planes_, plane,
                          present_, l_.padded, sums_.get() + w * rows * l_.padded + c);
        }
      }
      for (int64_t r = 0; r < present_; ++r) totals_[w * rows + r] += totals[r];
    }
  }

  void store(int64_t pixel, const float* constants, int64_t row, int64_t sample) const {
    const int64_t channels = a_.shape.channels;
    const int32_t* sums = sums_.get() + row * l_.padded;
    const int64_t first = (pixel * a_.kept + sample) * channels;
    if (a_.integers != nullptr) {
      for (int64_t c = 0; c < channels; ++c) a_.integers[first + c] = signed_sum(sums[c], totals_[row]);
      return;
    }
    const uint64_t* window = a_.window + (pixel * a_.shape.samples + a_.index[sample]) * l_.words;
    const float scale = a_.scale[sample], offset = a_.offset[sample];
    float* out = a_.result + first;
    for (int64_t c = 0; c < channels; ++c) {
      const float value = static_cast<float>(signed_sum(sums[c], totals_[row])) * scale + constants[c] * offset;
      out[c] = (window[c / 64] >> (c % 64) & 1) != 0 ? value : 0.0F;
    }
  }

  const HwncInputGradientArguments& a_;
  const Layout& l_;
  const Planes& planes_;
  const AxisTaps& lines_;
  const AxisTaps& line_;
  const Weights& weights_;
  Buffer<uint8_t> splats_;  // [plane][d][row][16], of one output pixel
  Buffer<int32_t> sums_;    // [column][row][padded channel]
  Buffer<int32_t> totals_;  // [column][row], sums of the codes that reach it
  int64_t first_ = 0, present_ = 0;
};

}  // namespace

namespace portable {

void hwnc_input_gradient(const HwncInputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Planes planes(a.codes, s.out_height * s.out_width * a.kept * s.outputs);
  const AxisTaps lines(s, 0), line(s, 1);
  const Weights weights(a, l, lines, line);
  const int64_t count = ceil_div(a.kept, rows) * s.height;
  parallel_products(threads, count, products_of(s, a.kept, s.outputs), products_per_number, [&](int64_t begin, int64_t end) {
    Line worker(a, l, planes, lines, line, weights);
    for (int64_t i = begin; i < end; ++i) worker.compute(i / s.height * rows, i % s.height);
  });
}

}  // namespace portable
}  // namespace fqt
