// One bit times one bit: K - 2 * popcount(x XOR w), over the taps that lie inside the input.
//
// Weights are laid out as [group][tap][word][output], so that the innermost loop runs over outputs side by side: it counts bits
// within each byte by shifts and masks (no popcount instruction is assumed), in vectors where the compiler has them:
//
//     for each pixel, tap, word:   count[d] += bits_per_byte(x ^ w[d])      bytes hold at most 8 per word, so up to 31
//                                                                           words are added before the bytes are summed
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

using Words = uint64_t __attribute__((vector_size(16)));

constexpr int64_t lanes = 2, vectors = 4;
constexpr int64_t block = lanes * vectors;  // outputs whose sums are kept in registers
constexpr int64_t words_per_sum = 31;       // 31 * 8 fits a byte

inline Words load_words(const uint64_t* p) {
  Words v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

inline Words bits_per_byte(Words x) {
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
}

inline Words sum_of_bytes(Words x) {
  x = (x & 0x00FF00FF00FF00FF) + (x >> 8 & 0x00FF00FF00FF00FF);
  x = x + (x >> 16);
  return (x + (x >> 32)) & 0xFFFF;
}

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

// One pixel and one block of outputs: the words of the taps inside, and the weights that belong to them.
struct Terms {
  Buffer<uint64_t> x;
  Buffer<const uint64_t*> weight;
  int64_t count = 0;

  explicit Terms(int64_t most) : x(most), weight(most) {}
};

// Numbers of differing bits of `block` outputs from `first` on.
void differing_bits(const Terms& terms, int64_t first, uint64_t* count) {
  Words sums[vectors] = {};
  for (int64_t i = 0; i < terms.count; i += words_per_sum) {
    Words b0{}, b1{}, b2{}, b3{};  // named, so that they stay in registers
    const int64_t end = smaller(terms.count, i + words_per_sum);
    for (int64_t j = i; j < end; ++j) {
      const Words x = Words{} + terms.x[j];
      const uint64_t* w = terms.weight[j] + first;
      b0 += bits_per_byte(x ^ load_words(w));
      b1 += bits_per_byte(x ^ load_words(w + lanes));
      b2 += bits_per_byte(x ^ load_words(w + 2 * lanes));
      b3 += bits_per_byte(x ^ load_words(w + 3 * lanes));
    }
    sums[0] += sum_of_bytes(b0);
    sums[1] += sum_of_bytes(b1);
    sums[2] += sum_of_bytes(b2);
    sums[3] += sum_of_bytes(b3);
  }
  std::memcpy(count, sums, sizeof(sums));
}

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
            terms.weight[terms.count++] = weights.data.get() + (tap * weights.words + i) * weights.padded;
          }
        }
      }
      for (int64_t first = 0; first < per_group; first += block) {
        differing_bits(terms, first, count);
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
  parallel(threads, s.samples * s.out_height, 1, [&](int64_t begin, int64_t end) {
    Terms terms(s.kernel_height * s.kernel_width * weights.words);
    for (int64_t row = begin; row < end; ++row) output_row(a, weights, row, terms);
  });
}

void binary_linear(const ForwardArguments& a, const Threads& threads) { binary_conv2d(a, threads); }

}  // namespace portable
}  // namespace fqt
