// The convolution before a chain, straight to the bits that enter it: output channels are the lanes, a word of them at a time.
#include "../bits.h"
#include "../float_lanes.h"
#include "../kernels.h"
#include "../padded_image.h"

namespace fqt {
namespace {

constexpr int64_t word_bits = 64, at_once = sum_vectors * float_lanes;
constexpr int64_t group_samples = 8;  // whose words of a pixel share a line of the cache
constexpr int64_t band_pixels = 128;  // of each sample, or one row of outputs

// Weights and constants, [word][…][channel of the word], with zeros past the last channel.
class Weights {
 public:
  Weights(const StemEnterArguments& of, int64_t inputs)
      : inputs_(inputs), words_(ceil_div(of.shape.outputs, word_bits)), values_(words_ * (inputs + 3) * word_bits) {
    for (int64_t d = 0; d < of.shape.outputs; ++d) {
      float* to = values_.get() + d / word_bits * (inputs + 3) * word_bits + d % word_bits;
      *to = of.a[d];
      *(to += word_bits) = of.b[d];
      *(to += word_bits) = of.bias == nullptr ? 0.0F : of.bias[d];
      for (int64_t i = 0; i < inputs; ++i) *(to += word_bits) = of.weight[d * inputs + i];
    }
  }

  int64_t words() const { return words_; }
  int64_t inputs() const { return inputs_; }
  const float* a(int64_t word) const { return values_.get() + word * (inputs_ + 3) * word_bits; }
  const float* b(int64_t word) const { return a(word) + word_bits; }
  const float* bias(int64_t word) const { return b(word) + word_bits; }
  const float* weight(int64_t word) const { return bias(word) + word_bits; }

 private:
  int64_t inputs_, words_;
  Buffer<float> values_;
};

class Enter {
 public:
  Enter(const StemEnterArguments& a, const PaddedImage& geometry, const Weights& weights)
      : a_(a), geometry_(geometry), weights_(weights), images_(group_samples * geometry.size(), Contents::any) {}

  // Some samples, and some rows of outputs.
  void compute(int64_t first_sample, int64_t samples, int64_t first_row, int64_t rows) {
    const ConvShape& s = a_.shape;
    for (int64_t n = 0; n < samples; ++n) {
      const float* image = a_.images + (first_sample + n) * s.channels * s.height * s.width;
      geometry_.load(image, nullptr, first_row, images_.get() + n * geometry_.size());
    }
    const int64_t first = first_row * s.out_width, pixels = rows * s.out_width;
    for (int64_t word = 0; word < weights_.words(); ++word) {
      int64_t p = 0;
      for (; p + sum_rows <= pixels; p += sum_rows) enter<sum_rows>(word, first_sample, samples, first, p);
      for (; p < pixels; ++p) enter<1>(word, first_sample, samples, first, p);
    }
  }

 private:
  // Outputs p, p + 1, … of the samples, counted from output `first`.
  template <int64_t count>
  void enter(int64_t word, int64_t first_sample, int64_t samples, int64_t first, int64_t p) {
    const ConvShape& s = a_.shape;
    const int64_t begin = word * word_bits, channels = smaller(word_bits, s.outputs - begin);
    for (int64_t n = 0; n < samples; ++n) {
      const float* from[count];
      for (int64_t r = 0; r < count; ++r) from[r] = images_.get() + n * geometry_.size() + geometry_.output()[p + r];
      float h[count][word_bits];
      convolve(from, word, channels, h);
      for (int64_t r = 0; r < count; ++r) {
        const int64_t row = (first + p + r) * s.samples + first_sample + n;
        if (a_.h != nullptr) {
          std::memcpy(a_.h + row * s.outputs + begin, h[r], sizeof(float) * static_cast<size_t>(channels));
        }
        const Bits bits = bits_of_some(h[r], channels);
        a_.sign[row * weights_.words() + word] = bits.sign;
        a_.window[row * weights_.words() + word] = bits.window;
      }
    }
  }

  // a · y + b of some outputs and the channels of a word.
  template <int64_t count>
  void convolve(const float* const (&from)[count], int64_t word, int64_t channels, float (&h)[count][word_bits]) const {
    for (int64_t d = 0; d < channels; d += at_once) {
      Floats sum[count][sum_vectors];
      for (int64_t v = 0; v < sum_vectors; ++v) {
        const Floats bias = load(weights_.bias(word) + d + v * float_lanes);
        for (int64_t r = 0; r < count; ++r) sum[r][v] = bias;
      }
      add_products(from, geometry_.input(), weights_.inputs(), weights_.weight(word) + d, word_bits, sum);
      for (int64_t v = 0; v < sum_vectors; ++v) {
        const int64_t at = d + v * float_lanes;
        const Floats a = load(weights_.a(word) + at), b = load(weights_.b(word) + at);
        for (int64_t r = 0; r < count; ++r) store(sum[r][v] * a + b, h[r] + at);
      }
    }
  }

  const StemEnterArguments& a_;
  const PaddedImage& geometry_;
  const Weights& weights_;
  Buffer<float> images_;
};

}  // namespace

namespace FQT_ISA {

void stem_enter(const StemEnterArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const int64_t rows = smaller(s.out_height, larger(1, band_pixels / s.out_width));
  const PaddedImage geometry(s, rows);
  const Weights weights(a, geometry.inputs() - 1);
  const int64_t bands = ceil_div(s.out_height, rows), groups = ceil_div(s.samples, group_samples);
  const int64_t work = products_of(s, s.samples, s.outputs);
  parallel_products(threads, groups * bands, work, products_per_number, [&](int64_t begin, int64_t end) {
    Enter enter(a, geometry, weights);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / bands * group_samples, row = i % bands * rows;
      enter.compute(sample, smaller(group_samples, s.samples - sample), row, smaller(rows, s.out_height - row));
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
