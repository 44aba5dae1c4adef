// One pass over latents: Adam, clamping, sign bits and mean magnitude. Every float32 operation is one of the reference's, in
// the same order; square root and division are those of the instruction set, which round correctly. Blocks of 64 channels,
// one word of signs each, stay in the first-level cache from one small loop to the next.
#include <cmath>
#include <limits>

#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t block = 64;
constexpr int64_t lanes = 16;

// Sum of magnitudes: channel c of each tap belongs to partial sum c % lanes.
struct Magnitude {
  double lane[lanes] = {};

  // Channels of one tap, the first of which is a multiple of `lanes`.
  void add(const float* w, int64_t count) {
    int64_t first = 0;
    for (; first + lanes <= count; first += lanes) {
      for (int64_t l = 0; l < lanes; ++l) lane[l] += static_cast<double>(std::fabs(w[first + l]));
    }
    for (int64_t l = 0; first + l < count; ++l) lane[l] += static_cast<double>(std::fabs(w[first + l]));
  }

  float mean(int64_t count) const {
    double total = 0.0;
    for (int64_t l = 0; l < lanes; ++l) total += lane[l];
    return static_cast<float>(total / static_cast<double>(count));
  }
};

// The constants of a step. They are passed by value: a store to latents must not make them be read again.
struct Step {
  float weight_decay, one_minus_beta1, beta2, one_minus_beta2, rate, epsilon, bound;

  explicit Step(const AdamArguments& a)
      : weight_decay(a.weight_decay), one_minus_beta1(a.one_minus_beta1), beta2(a.beta2),
        one_minus_beta2(a.one_minus_beta2), rate(a.rate), epsilon(a.epsilon),
        bound(a.clamp ? 1.0F : std::numeric_limits<float>::infinity()) {}

  void apply(const float* __restrict gradient, int64_t count, float* __restrict weight, float* __restrict exp_avg,
             float* __restrict exp_avg_sq) const {
    const Step s = *this;
    for (int64_t c = 0; c < count; ++c) {
      const float g = gradient[c] + s.weight_decay * weight[c];
      const float m = exp_avg[c] + (g - exp_avg[c]) * s.one_minus_beta1;
      const float v = exp_avg_sq[c] * s.beta2 + (s.one_minus_beta2 * g) * g;
      exp_avg[c] = m;
      exp_avg_sq[c] = v;
      float w = weight[c] - (s.rate * m) / (std::sqrt(v) + s.epsilon);
      w = w < -s.bound ? -s.bound : w;  // a NaN passes both comparisons by
      weight[c] = w > s.bound ? s.bound : w;
    }
  }
};

inline uint64_t signs(const float* weight, int64_t count) {
  uint32_t half[2] = {};
  for (int h = 0; h < 2; ++h) {
    const int64_t end = smaller(32, count - 32 * h);
    for (int64_t c = 0; c < end; ++c) half[h] |= (weight[32 * h + c] >= 0.0F ? uint32_t{1} : 0) << c;
  }
  return half[0] | static_cast<uint64_t>(half[1]) << 32;
}

// One block of channels of one tap; inlined with a constant `count` for whole blocks.
inline uint64_t step_block(const AdamArguments& a, const Step& step, const float* gradient, int64_t at, int64_t count,
                           Magnitude& magnitude) {
  step.apply(gradient, count, a.weight + at, a.exp_avg + at, a.exp_avg_sq + at);
  magnitude.add(a.weight + at, count);
  return signs(a.weight + at, count);
}

}  // namespace

namespace FQT_ISA {

void adam_binary_(const AdamArguments& a, const Threads& threads) {
  const int64_t words = ceil_div(a.channels, block), row = a.taps * a.channels;
  parallel(threads, a.outputs, 2 * row, [&](int64_t begin, int64_t end) {
    const Buffer<float> none(a.channels);  // the gradient of a tap whose output channel has none
    const Step step(a);
    int64_t next = 0;
    while (next < a.kept && a.index[next] < begin) ++next;
    for (int64_t d = begin; d < end; ++d) {
      const bool present = next < a.kept && a.index[next] == d;
      const float* gradient = present ? a.gradient + next * row : none.get();
      Magnitude magnitude;
      for (int64_t t = 0; t < a.taps; ++t) {
        for (int64_t first = 0; first < a.channels; first += block) {
          const int64_t at = d * row + t * a.channels + first, count = smaller(block, a.channels - first);
          const float* g = gradient + (present ? t * a.channels : 0) + first;
          a.words[(d * a.taps + t) * words + first / block] =
              count == block ? step_block(a, step, g, at, block, magnitude) : step_block(a, step, g, at, count, magnitude);
        }
      }
      a.scale[d] = magnitude.mean(row);
      next += present ? 1 : 0;
    }
  });
}

void mean_magnitude(const MagnitudeArguments& a, const Threads& threads) {
  const int64_t row = a.taps * a.channels;
  parallel(threads, a.outputs, row, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      Magnitude magnitude;
      for (int64_t t = 0; t < a.taps; ++t) magnitude.add(a.weight + d * row + t * a.channels, a.channels);
      a.mean[d] = magnitude.mean(row);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
