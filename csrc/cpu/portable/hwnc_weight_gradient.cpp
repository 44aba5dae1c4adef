// corr(q, Xb) for the kept output channels: for each tap, kept channel and input channel, a sum over (output pixel, sample).
//
// Vector lanes are input channels (masked_sums.h): the lines of the input that a line of output needs become byte masks
// [pixel][sample][c], c padded to whole blocks. Rows are kept channels; the codes of an output pixel become splats.
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "masked_sums.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 16;  // in the time that `parallel` counts in

struct Layout {
  int64_t taps, words, padded, row_codes;

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        words(ceil_div(s.channels, 64)),
        padded(round_up(s.channels, columns)),
        row_codes(round_up(s.samples, 4)) {}

  int64_t block_size() const { return taps * rows * padded; }
};

// corr(1, Xb), [tap][padded channel].
void find_constants(const HwncWeightGradientArguments& a, const Layout& l, const Threads& threads, float* constants) {
  const ConvShape& s = a.shape;
  const Buffer<int32_t> ones(s.height * s.width * l.padded);
  parallel(threads, s.height * s.width, s.samples * l.padded, [&](int64_t begin, int64_t end) {
    const Buffer<uint8_t> mask(l.padded);
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < s.samples; ++n) {
        expand_channels(a.x + (p * s.samples + n) * l.words, 0, s.channels, mask.get());
        for (int64_t c = 0; c < l.padded; ++c) ones[p * l.padded + c] += mask[c] & 1;
      }
    }
  });
  parallel(threads, l.taps, s.out_height * s.out_width * l.padded, [&](int64_t begin, int64_t end) {
    for (int64_t tap = begin; tap < end; ++tap) {
      weight_constants(s, tap, ones.get(), l.padded, constants + tap * l.padded);
    }
  });
}

// Some blocks of `rows` kept channels on their way down the lines of output.
class Worker {
 public:
  Worker(const HwncWeightGradientArguments& a, const Layout& l, const Planes& planes, int64_t first_block, int64_t blocks)
      : a_(a),
        l_(l),
        planes_(planes),
        first_block_(first_block),
        blocks_(blocks),
        slots_((a.shape.kernel_height - 1) * a.shape.dilation[0] + 1),
        line_masks_(a.shape.width * a.shape.samples * l.padded),
        masks_(slots_ * line_masks_),
        line_in_slot_(slots_),
        pairs_(a.shape.samples),
        splats_(planes.count * a.shape.samples * rows * byte_lanes),
        sums_(blocks * l.block_size()),
        totals_(blocks * l.taps * rows) {
    for (int64_t slot = 0; slot < slots_; ++slot) line_in_slot_[slot] = -1;
    for (int64_t n = 0; n < a.shape.samples; ++n) pairs_[n] = {n, n * l.padded};
  }

  void add_line(int64_t oh) {
    const ConvShape& s = a_.shape;
    const int64_t top = oh * s.stride[0] - s.padding[0];
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) load(top + kh * s.dilation[0]);
    for (int64_t block = 0; block < blocks_; ++block) {
      for (int64_t ow = 0; ow < s.out_width; ++ow) add(block, oh, ow);
    }
  }

  void store(const float* constants) const {
    const int64_t channels = a_.shape.channels;
    for (int64_t r = first_block_ * rows; r < smaller(a_.kept, (first_block_ + blocks_) * rows); ++r) {
      const int64_t block = r / rows - first_block_;
      for (int64_t tap = 0; tap < l_.taps; ++tap) {
        const int64_t row = (block * l_.taps + tap) * rows + r % rows;
        const int32_t* sums = sums_.get() + row * l_.padded;
        const int64_t first = (r * l_.taps + tap) * channels;
        if (a_.integers != nullptr) {
          for (int64_t c = 0; c < channels; ++c) a_.integers[first + c] = signed_sum(sums[c], totals_[row]);
          continue;
        }
        float* out = a_.result + first;
        for (int64_t c = 0; c < channels; ++c) {
          const auto product = static_cast<float>(signed_sum(sums[c], totals_[row]));
          out[c] = product * a_.scale[r] + constants[tap * l_.padded + c] * a_.offset[r];
        }
      }
    }
  }

 private:
  // Masks of a line of input, unless they are there or the line is padding.
  void load(int64_t h) {
    const ConvShape& s = a_.shape;
    if (h < 0 || h >= s.height || line_in_slot_[h % slots_] == h) return;
    line_in_slot_[h % slots_] = h;
    uint8_t* masks = masks_.get() + h % slots_ * line_masks_;
    for (int64_t i = 0; i < s.width * s.samples; ++i) {
      expand_channels(a_.x + (h * s.width * s.samples + i) * l_.words, 0, s.channels, masks + i * l_.padded);
    }
  }

  // Adds what one output pixel contributes to a block.
  void add(int64_t block, int64_t oh, int64_t ow) {
    const ConvShape& s = a_.shape;
    const int64_t first = (first_block_ + block) * rows, present = smaller(rows, a_.kept - first);
    const int64_t plane_size = s.samples * rows * byte_lanes;
    int32_t totals[rows] = {};
    for (int64_t r = 0; r < present; ++r) {
      const uint8_t* codes = a_.codes + ((oh * s.out_width + ow) * a_.kept + first + r) * l_.row_codes;
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        spread_codes(codes, s.samples, planes_, plane, splats_.get() + plane * plane_size + r * byte_lanes);
      }
      for (int64_t n = 0; n < s.samples; ++n) totals[r] += codes[n];
    }
    for (int64_t tap = 0; tap < l_.taps; ++tap) {
      const int64_t h = oh * s.stride[0] - s.padding[0] + tap / s.kernel_width * s.dilation[0];
      const int64_t w = ow * s.stride[1] - s.padding[1] + tap % s.kernel_width * s.dilation[1];
      if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
      const uint8_t* masks = masks_.get() + h % slots_ * line_masks_ + w * s.samples * l_.padded;
      const int64_t row = (block * l_.taps + tap) * rows;
      for (int64_t c = 0; c < s.channels; c += columns) {
        for (int64_t plane = 0; plane < planes_.count; ++plane) {
          add_masked_sums(pairs_.get(), s.samples, splats_.get() + plane * plane_size, masks + c, planes_, plane, present,
                          l_.padded, sums_.get() + row * l_.padded + c);
        }
      }
      for (int64_t r = 0; r < present; ++r) totals_[row + r] += totals[r];
    }
  }

  const HwncWeightGradientArguments& a_;
  const Layout& l_;
  const Planes& planes_;
  int64_t first_block_, blocks_, slots_, line_masks_;
  Buffer<uint8_t> masks_;  // [slot: input line modulo slots][column][sample][padded channel]
  Buffer<int64_t> line_in_slot_;
  Buffer<Pair> pairs_;      // [sample], of any pixel
  Buffer<uint8_t> splats_;  // [plane][sample][row][16], of one output pixel
  Buffer<int32_t> sums_;    // [block][tap][row][padded channel]
  Buffer<int32_t> totals_;  // [block][tap][row], sums of the codes that the tap meets
};

}  // namespace

namespace portable {

void hwnc_weight_gradient(const HwncWeightGradientArguments& a, const Threads& threads) {
  const Layout l(a.shape);
  const Planes planes(a.codes, a.shape.out_height * a.shape.out_width * a.kept * l.row_codes);
  const Buffer<float> constants(l.taps * l.padded);
  find_constants(a, l, threads, constants.get());
  const int64_t count = ceil_div(a.kept, rows);
  parallel_products(threads, count, products_of(a.shape, a.shape.samples, a.kept), products_per_number,
                    [&](int64_t begin, int64_t end) {
    Worker worker(a, l, planes, begin, end - begin);
    for (int64_t oh = 0; oh < a.shape.out_height; ++oh) worker.add_line(oh);
    worker.store(constants.get());
  });
}

}  // namespace portable
}  // namespace fqt
