// Constants of batch normalisation (fqt_core/ops/hwnc/normalization.py), a thread for each channel. Square root and division round
// correctly (nvcc's default), and nothing is fused.
#include "../cpu/normalization.h"

#include <cmath>

#include "../cpu/support.h"
#include "device.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

struct Normalize {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  GlobalArray<float> running_mean, running_var;
  GlobalArray<const float> weight, bias, alpha, shift, origin;
  GlobalArray<const double> first, second;
  GlobalArray<float> a, b, center;
  GlobalArray<double> constants;
  int64_t channels;
  double rows, momentum, eps;

  template <typename T>
  FQT_DEVICE static double load(const Thread& t, const GlobalArray<const T>& from, int64_t i, double otherwise) {
    return from ? static_cast<double>(from.load(t, i)) : otherwise;
  }
  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t d = t.block_x() * threads + t.index();
    if (d >= channels) return;
    float mean = running_mean.load(t, d), variance = running_var.load(t, d);
    const ChannelMoments moments =
        channel_moments_of(load(t, alpha, d, 1.0), load(t, shift, d, 0.0), load(t, origin, d, -0.0), load(t, first, d, 0.0),
                           load(t, second, d, 0.0), rows, momentum, static_cast<bool>(first), mean, variance);
    if (first) {
      running_mean.store(t, d, mean);
      running_var.store(t, d, variance);
    }
    const double inverse = 1.0 / sqrt(moments.variance + eps), gamma = weight.load(t, d);
    const ChannelNormalization found = normalization_of(moments, inverse, gamma, bias.load(t, d));
    a.store(t, d, found.a);
    b.store(t, d, found.b);
    center.store(t, d, found.center);
    constants.store(t, d, moments.scale);
    constants.store(t, channels + d, inverse);
    constants.store(t, 2 * channels + d, gamma);
    constants.store(t, 3 * channels + d, moments.center);
  }
};

// One block, for all channels have to be finite.
struct NormalizeGradient {
  static constexpr int threads = 256, blocks = 1;
  struct Shared {
    SharedArray<int, 1> infinite;
  };
  GlobalArray<const double> total, moment, constants;
  GlobalArray<float> c, a0, a1, weight, bias, shift;
  GlobalArray<bool> finite;
  int64_t channels;
  double rows;
  bool batch;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    if (t.index() == 0) s.infinite.store(t, 0, 0);
    t.barrier();
    for (int64_t d = t.index(); d < channels; d += threads) {
      const ChannelGradient found = normalization_gradient_of(
          total.load(t, d), moment.load(t, d), constants.load(t, d), constants.load(t, channels + d),
          constants.load(t, 2 * channels + d), constants.load(t, 3 * channels + d), rows, batch);
      c.store(t, d, found.c);
      a0.store(t, d, found.a0);
      a1.store(t, d, found.a1);
      weight.store(t, d, found.weight);
      bias.store(t, d, found.bias);
      shift.store(t, d, found.shift);
      if (!found.finite) s.infinite.add(t, 0, 1);
    }
    t.barrier();
    if (t.index() == 0) finite.store(t, 0, s.infinite.load(t, 0) == 0);
  }
};

}  // namespace

void hwnc_normalization(const NormalizationArguments& a, const Queue& queue) {
  const int64_t count = a.channels;
  const Normalize kernel{{a.running_mean, count},
                         {a.running_var, count},
                         {a.weight, count},
                         {a.bias, count},
                         {a.alpha, count},
                         {a.shift, count},
                         {a.origin, count},
                         {a.first, count},
                         {a.second, count},
                         {a.a, count},
                         {a.b, count},
                         {a.center, count},
                         {a.constants, 4 * count},
                         count,
                         static_cast<double>(a.rows),
                         a.momentum,
                         a.eps};
  launch(kernel, {ceil_div(count, Normalize::threads)}, queue);
}

void hwnc_normalization_gradient(const NormalizationGradientArguments& a, const Queue& queue) {
  const int64_t count = a.channels;
  const NormalizeGradient kernel{{a.total, count},  {a.moment, count}, {a.constants, 4 * count}, {a.c, count},
                                 {a.a0, count},     {a.a1, count},     {a.weight, count},        {a.bias, count},
                                 {a.shift, count},  {a.finite, 1},     count,                    static_cast<double>(a.rows),
                                 a.batch};
  launch(kernel, {1}, queue);
}

}  // namespace fqt::cuda
