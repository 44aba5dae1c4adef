// The optimiser's side of a layer (fqt_core/ops/adam.py): a block per output channel steps its latents, and adds up their magnitudes
// in the reference's order. Square root and division round correctly (nvcc's default), and nothing is fused.
#include <cmath>

#include "../cpu/support.h"
#include "kernels.h"
#include "rows.h"

namespace fqt::cuda {
namespace {

constexpr int lanes = 16;  // partial sums of a mean magnitude
constexpr int threads_per_row = 128;

struct MagnitudeRoom {
  SharedArray<double, lanes> sums;
};

// Mean |weight| of a row (taps, channels): lane l adds channels l, l + 16, ... of each tap, one after the other. All threads of a
// block come here; the first one stores the result.
template <typename Weight>
FQT_DEVICE void store_mean(const Thread& t, MagnitudeRoom& room, const Weight& weight, int64_t row, int64_t taps,
                           int64_t channels, const GlobalArray<float>& mean) {
  if (t.index() < lanes) {
    double sum = 0.0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t first = (row * taps + tap) * channels;
      for (int64_t c = t.index(); c < channels; c += lanes) sum += static_cast<double>(fabsf(weight.load(t, first + c)));
    }
    room.sums.store(t, t.index(), sum);
  }
  t.barrier();
  if (t.index() != 0) return;
  double total = 0.0;
  for (int l = 0; l < lanes; ++l) total += room.sums.load(t, l);
  mean.store(t, row, static_cast<float>(total / static_cast<double>(taps * channels)));
}

struct MeanMagnitude {
  static constexpr int threads = threads_per_row, blocks = 8;
  using Shared = MagnitudeRoom;
  GlobalArray<const float> weight;
  GlobalArray<float> mean;
  int64_t taps, channels;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    store_mean(t, s, weight, t.block_x(), taps, channels, mean);
  }
};

struct AdamStep {
  float weight_decay, one_minus_beta1, beta2, one_minus_beta2, rate, epsilon, bound;
};

struct Latent {
  float w, m, v;
};

FQT_HOST_DEVICE Latent stepped(const AdamStep& s, const Latent& old, float gradient) {
  const float g = gradient + s.weight_decay * old.w;
  const float m = old.m + (g - old.m) * s.one_minus_beta1;
  const float v = old.v * s.beta2 + (s.one_minus_beta2 * g) * g;
  float w = old.w - (s.rate * m) / (sqrtf(v) + s.epsilon);
  w = w < -s.bound ? -s.bound : w;  // a NaN passes both comparisons by
  return {w > s.bound ? s.bound : w, m, v};
}

// A warp takes 32 channels of a tap at a time, half a word of signs.
struct AdamRow {
  static constexpr int threads = threads_per_row, blocks = 8;
  using Shared = MagnitudeRoom;
  AdamStep step;
  GlobalArray<float> weight, exp_avg, exp_avg_sq;
  GlobalArray<const float> gradient;
  GlobalArray<const int64_t> index;
  int64_t kept, taps, channels, halves;
  GlobalArray<uint32_t> signs;
  GlobalArray<float> mean;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t d = t.block_x(), row = find(t, index, kept, d);  // of the gradient
    for (int64_t i = t.warp(); i < taps * halves; i += threads / warp_size) {
      const int64_t tap = i / halves, c = i % halves * warp_size + t.lane();
      bool sign = false;
      if (c < channels) {
        const int64_t at = (d * taps + tap) * channels + c;
        const float g = row < 0 ? 0.0F : gradient.load(t, (row * taps + tap) * channels + c);
        const Latent next = stepped(step, {weight.load(t, at), exp_avg.load(t, at), exp_avg_sq.load(t, at)}, g);
        weight.store(t, at, next.w);
        exp_avg.store(t, at, next.m);
        exp_avg_sq.store(t, at, next.v);
        sign = next.w >= 0.0F;
      }
      const uint32_t word = t.ballot(sign);
      if (t.lane() == 0) signs.store(t, d * taps * halves + i, word);
    }
    t.barrier();
    store_mean(t, s, weight, d, taps, channels, mean);
  }
};

}  // namespace

void mean_magnitude(const MagnitudeArguments& a, const Queue& queue) {
  const MeanMagnitude kernel{{a.weight, a.outputs * a.taps * a.channels}, {a.mean, a.outputs}, a.taps, a.channels};
  launch(kernel, {a.outputs}, queue);
}

void adam_binary_(const AdamArguments& a, const Queue& queue) {
  const int64_t count = a.outputs * a.taps * a.channels, halves = 2 * ceil_div(a.channels, 64);
  const AdamStep step{a.weight_decay, a.one_minus_beta1, a.beta2, a.one_minus_beta2,
                      a.rate,         a.epsilon,         a.clamp ? 1.0F : INFINITY};
  const AdamRow kernel{step,
                       {a.weight, count},
                       {a.exp_avg, count},
                       {a.exp_avg_sq, count},
                       {a.gradient, a.kept * a.taps * a.channels},
                       {a.index, a.kept},
                       a.kept,
                       a.taps,
                       a.channels,
                       halves,
                       {reinterpret_cast<uint32_t*>(a.words), a.outputs * a.taps * halves},
                       {a.scale, a.outputs}};
  launch(kernel, {a.outputs}, queue);
}

}  // namespace fqt::cuda
