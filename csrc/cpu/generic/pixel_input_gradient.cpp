// dL/dX from kept pixel rows: for each row, tap and input channel an integer sum over output channels, by XNOR and popcount; a
// scale per row outside of it; and sums over the taps in the order of rising rows.
//
// Weights become blocks [group][tap][block of channels][word of output channels][channel] (bit_counts.h).
#include "../bit_counts.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t bits_per_number = 64;  // in the time that `parallel` counts in

struct Layout {
  int64_t taps, channels, outputs, words, blocks;  // channels, outputs, words and blocks of one group

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        channels(s.channels / s.groups),
        outputs(s.outputs / s.groups),
        words(ceil_div(outputs, word_rows)),
        blocks(ceil_div(channels, block_columns)) {}

  int64_t block_size() const { return words * block_columns; }
  // Where a group's tap begins, in blocks.
  int64_t first_block(int64_t group, int64_t tap) const { return (group * taps + tap) * blocks; }
};

void expand_weights(const PixelInputArguments& a, const Layout& l, uint32_t* blocks) {
  const int64_t words = ceil_div(l.channels, 64);
  for (int64_t g = 0; g < a.shape.groups; ++g) {
    for (int64_t tap = 0; tap < l.taps; ++tap) {
      for (int64_t w = 0; w < l.words; ++w) {
        for (int64_t c = 0; c < l.channels; c += 32) {
          uint32_t bits[32] = {};
          for (int64_t i = 0; i < smaller(word_rows, l.outputs - w * word_rows); ++i) {
            const int64_t d = g * l.outputs + w * word_rows + i;
            bits[i] = static_cast<uint32_t>(a.weight[(d * l.taps + tap) * words + c / 64] >> (c % 64));
          }
          transpose_bits(bits);
          for (int64_t b = c / block_columns; b < smaller(l.blocks, c / block_columns + 2); ++b) {
            uint32_t* out = blocks + (l.first_block(g, tap) + b) * l.block_size() + w * block_columns;
            std::memcpy(out, bits + (b * block_columns - c), sizeof(uint32_t) * block_columns);
          }
        }
      }
    }
  }
}

// Sums over output channels of ±1 with the weights, [group][tap][padded channel]: with all +1, and with the dither's signs.
struct Sums {
  Buffer<float> ones, signs;

  Sums(const PixelInputArguments& a, const Layout& l, const uint32_t* blocks)
      : ones(size(a, l)), signs(size(a, l)) {
    if (a.scale == nullptr) return;
    const Buffer<uint32_t> planes(2 * l.words);
    const Buffer<uint8_t> bytes(l.outputs);
    for (int64_t g = 0; g < a.shape.groups; ++g) {
      for (int64_t d = 0; d < l.outputs; ++d) {
        bytes[d] = static_cast<uint8_t>(1 | (a.sign[g * l.outputs + d] > 0.0F ? 2 : 0));
      }
      pack_planes(bytes.get(), l.outputs, 2, planes.get(), l.words);
      for (int64_t i = l.first_block(g, 0); i < l.first_block(g + 1, 0); ++i) {
        int32_t counts[2 * block_columns] = {};
        count_planes<Differ, 2>(planes.get(), l.words, blocks + i * l.block_size(), l.words, counts);
        for (int64_t c = 0; c < block_columns; ++c) {
          ones[i * block_columns + c] = static_cast<float>(l.outputs - 2 * counts[c]);
          signs[i * block_columns + c] = static_cast<float>(l.outputs - 2 * counts[block_columns + c]);
        }
      }
    }
  }

 private:
  static int64_t size(const PixelInputArguments& a, const Layout& l) {
    return a.scale == nullptr ? 0 : l.first_block(a.shape.groups, 0) * block_columns;
  }
};

// Σ (2q - L) · weight for a block of channels: codes bit by bit, with 2q - L = Σ 2^p · (±1).
inline void odd_sums(const uint32_t* planes, const Layout& l, int64_t bits, const uint32_t* block, float* odd) {
  int32_t counts[8 * block_columns] = {};
  count_bits<Differ>(planes, bits, l.words, block, l.words, counts);
  const auto most = static_cast<int32_t>(((1 << bits) - 1) * l.outputs);
  for (int64_t c = 0; c < block_columns; ++c) {
    int32_t differing = 0;
    for (int64_t p = 0; p < bits; ++p) differing += counts[p * block_columns + c] << p;
    odd[c] = static_cast<float>(most - 2 * differing);
  }
}

class Worker {
 public:
  Worker(const PixelInputArguments& a, const Layout& l, const uint32_t* blocks, const Sums* sums)
      : a_(a), l_(l), blocks_(blocks), sums_(sums), planes_(a.shape.groups * a.bits * l.words) {}

  // Adds the share of the kept row j to the result.
  void add(int64_t j) {
    const ConvShape& s = a_.shape;
    for (int64_t g = 0; g < s.groups; ++g) {
      const uint8_t* codes = a_.codes + j * s.outputs + g * l_.outputs;
      pack_planes(codes, l_.outputs, a_.bits, planes_.get() + g * a_.bits * l_.words, l_.words);
    }
    const int64_t place = a_.index[j] % (s.out_height * s.out_width), n = a_.index[j] / (s.out_height * s.out_width);
    const int64_t top = place / s.out_width * s.stride[0] - s.padding[0];
    const int64_t left = place % s.out_width * s.stride[1] - s.padding[1];
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      const int64_t h = top + kh * s.dilation[0];
      if (h < 0 || h >= s.height) continue;
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t w = left + kw * s.dilation[1];
        if (w < 0 || w >= s.width) continue;
        float* out = a_.result + ((n * s.height + h) * s.width + w) * s.channels;
        for (int64_t g = 0; g < s.groups; ++g) add_tap(j, g, kh * s.kernel_width + kw, out + g * l_.channels);
      }
    }
  }

 private:
  void add_tap(int64_t j, int64_t group, int64_t tap, float* __restrict out) const {
    const uint32_t* planes = planes_.get() + group * a_.bits * l_.words;
    for (int64_t b = 0; b < l_.blocks; ++b) {
      const int64_t block = l_.first_block(group, tap) + b;
      float term[block_columns];
      odd_sums(planes, l_, a_.bits, blocks_ + block * l_.block_size(), term);
      if (sums_ != nullptr) {
        const float scale = a_.scale[j], offset = a_.offset[j], dither = a_.dither[j];
        const float* ones = sums_->ones.get() + block * block_columns;
        const float* signs = sums_->signs.get() + block * block_columns;
        for (int64_t c = 0; c < block_columns; ++c) {
          term[c] = scale * term[c] + (offset * ones[c] - dither * signs[c]);
        }
      }
      const int64_t count = smaller(block_columns, l_.channels - b * block_columns);
      for (int64_t c = 0; c < count; ++c) out[b * block_columns + c] += term[c];
    }
  }

  const PixelInputArguments& a_;
  const Layout& l_;
  const uint32_t* blocks_;
  const Sums* sums_;
  Buffer<uint32_t> planes_;  // [group][plane][word]
};

}  // namespace

namespace FQT_ISA {

void pixel_input_gradient(const PixelInputArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Buffer<uint32_t> blocks(l.first_block(s.groups, 0) * l.block_size());
  expand_weights(a, l, blocks.get());
  const Sums sums(a, l, blocks.get());
  const int64_t in_sample = s.out_height * s.out_width, size = s.height * s.width * s.channels;
  const Buffer<int64_t> first(s.samples + 1);  // kept row that a sample begins with
  for (int64_t n = 0, j = 0; n <= s.samples; ++n) {
    while (j < a.kept && a.index[j] < n * in_sample) ++j;
    first[n] = j;
  }
  const int64_t bits = a.kept * a.bits * l.outputs * s.channels * l.taps / larger(1, s.samples);
  parallel(threads, s.samples, larger(bits / bits_per_number, size), [&](int64_t begin, int64_t end) {
    std::memset(a.result + begin * size, 0, sizeof(float) * static_cast<size_t>((end - begin) * size));
    Worker worker(a, l, blocks.get(), a.scale == nullptr ? nullptr : &sums);
    for (int64_t j = first[begin]; j < first[end]; ++j) worker.add(j);
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
