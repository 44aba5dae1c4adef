// One bit times one bit: K - 2 * popcount(x XOR w), over the taps that lie inside the input.
//
// Weights are laid out as [group][tap][word][output], so that outputs are the lanes in which bits are counted.
#include "../kernels.h"
#include "bits.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 64;  // in the time that `parallel` counts in

struct Weights {
  int64_t words, padded;  // words per tap; outputs of a group, rounded up to blocks
  Buffer<uint64_t> data;

  Weights(const uint64_t* weight, const ConvShape& s)
      : words(ceil_div(s.channels / s.groups, 64)),
        padded(round_up(s.outputs / s.groups, block)),
        data(s.groups * s.kernel_height * s.kernel_width * words * padded) {
    const int64_t taps = s.kernel_height * s.kernel_width, per_group = s.outputs / s.groups;
    for (int64_t d = 0; d < s.outputs; ++d) {
      for (int64_t i = 0; i < taps * words; ++i) {
        const int64_t bits = smaller(64, s.channels / s.groups - i % words * 64);
        data[(d / per_group * taps * words + i) * padded + d % per_group] =
            extract_bits(weight + d * taps * words + i, 0, bits);
      }
    }
  }
};

// The words of the taps inside of one pixel, and the places of the weights that belong to them.
struct Terms {
  Buffer<uint64_t> x;
  Buffer<int64_t> places;
  int64_t count = 0;

  explicit Terms(int64_t most) : x(most), places(most) {}
};

// Row r of the output: sample r / out_height, line r % out_height.
void output_row(const ForwardArguments& a, const Weights& weights, int64_t row, Terms& terms) {
  const ConvShape& s = a.shape;
  const int64_t n = row / s.out_height, oh = row % s.out_height;
  const int64_t channels = s.channels / s.groups, per_group = s.outputs / s.groups;
  const int64_t x_words = ceil_div(s.channels, 64);
  uint64_t count[block];
  for (int64_t ow = 0; ow < s.out_width; ++ow) {
    for (int64_t g = 0; g < s.groups; ++g) {
      terms.count = 0;
      int64_t taps = 0;
      for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
        const int64_t h = oh * s.stride[0] - s.padding[0] + kh * s.dilation[0];
        if (h < 0 || h >= s.height) continue;
        for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
          const int64_t w = ow * s.stride[1] - s.padding[1] + kw * s.dilation[1];
          if (w < 0 || w >= s.width) continue;
          ++taps;
          const uint64_t* pixel = a.x + ((n * s.height + h) * s.width + w) * x_words;
          const int64_t tap = (g * s.kernel_height + kh) * s.kernel_width + kw;
          for (int64_t i = 0; i < weights.words; ++i) {
            const int64_t bits = smaller(64, channels - i * 64);
            terms.x[terms.count] = extract_bits(pixel, g * channels + i * 64, bits);
            terms.places[terms.count++] = (tap * weights.words + i) * weights.padded;
          }
        }
      }
      for (int64_t first = 0; first < per_group; first += block) {
        differing_bits(terms.x.get(), weights.data.get() + first, terms.places.get(), terms.count, count);
        const int64_t d0 = g * per_group + first;
        int32_t* y = a.y + ((n * s.outputs + d0) * s.out_height + oh) * s.out_width + ow;
        const int64_t outputs = smaller(block, per_group - first), step = s.out_height * s.out_width;
        for (int64_t d = 0; d < outputs; ++d) {
          y[d * step] = static_cast<int32_t>(taps * channels - 2 * static_cast<int64_t>(count[d]));
        }
      }
    }
  }
}

}  // namespace

namespace portable {

void binary_conv2d(const ForwardArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Weights weights(a.weight, s);
  const int64_t count = s.samples * s.out_height;
  parallel_products(threads, count, products_of(s, s.samples, s.outputs), products_per_number, [&](int64_t begin, int64_t end) {
    Terms terms(s.kernel_height * s.kernel_width * weights.words);
    for (int64_t row = begin; row < end; ++row) output_row(a, weights, row, terms);
  });
}

void binary_linear(const ForwardArguments& a, const Threads& threads) { binary_conv2d(a, threads); }

}  // namespace portable
}  // namespace fqt
