// The normalisation behind the convolution before a chain, and its gradient, from the moments of the convolution's
// inputs, in the order that fqt_core/ops/stem_normalization.py fixes: outputs are for threads, inputs the lanes.
#include "../kernels.h"
#include "../normalization.h"
#include "../support.h"

namespace fqt {
namespace {

// The weight of one output, and in the last column its bias, which takes up the origin.
void augment(const StemNormalizationArguments& a, int64_t d, double* __restrict to) {
  const int64_t last = a.channels * a.taps;
  const float* weight = a.weight + d * last;
  double column = 0.0;
  for (int64_t channel = 0; channel < a.channels; ++channel) {
    const double origin = a.origin[channel];
    for (int64_t i = channel * a.taps; i < (channel + 1) * a.taps; ++i) {
      to[i] = weight[i];
      column += to[i] * origin;
    }
  }
  to[last] = a.bias == nullptr ? column : column + static_cast<double>(a.bias[d]);
}

// A row of W M.
void cross(const double* weight, const double* moments, int64_t inputs, double* __restrict to) {
  for (int64_t j = 0; j < inputs; ++j) to[j] = 0.0;
  for (int64_t i = 0; i < inputs; ++i, moments += inputs) {
    for (int64_t j = 0; j < inputs; ++j) to[j] += weight[i] * moments[j];
  }
}

bool all_finite(const double* values, int64_t count) {
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) finite &= values[i] - values[i] == 0.0;
  return finite;
}

}  // namespace

namespace FQT_ISA {

void stem_normalization(const StemNormalizationArguments& a, const Threads& threads) {
  const int64_t inputs = a.channels * a.taps + 1;
  const double rows = static_cast<double>(a.rows);
  const double* sums = a.moments + (inputs - 1) * inputs;
  parallel(threads, a.outputs, inputs * inputs, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      double *weight = a.augmented + d * inputs, *products = a.cross_moments + d * inputs;
      augment(a, d, weight);
      cross(weight, a.moments, inputs, products);
      const double mean = products[inputs - 1] / rows;
      double square = 0.0;
      for (int64_t i = 0; i < inputs; ++i) square += (products[i] - mean * sums[i]) * weight[i];
      a.mean[d] = static_cast<float>(mean);
      const double rest = mean - static_cast<double>(a.mean[d]);
      a.first[d] = rows * rest;
      a.second[d] = square + rows * rest * rest;
    }
  });
}

void stem_gradient(const StemGradientArguments& a, const Threads& threads) {
  const int64_t last = a.channels * a.taps, inputs = last + 1;
  const double* sums = a.moments + last * inputs;
  *a.finite = all_finite(a.products, a.outputs * inputs);
  parallel(threads, a.outputs, 3 * inputs, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      const double *products = a.products + d * inputs, *weight = a.augmented + d * inputs;
      const double *cross_moments = a.cross_moments + d * inputs, *of = a.constants + d;
      double moment = 0.0;
      for (int64_t i = 0; i < inputs; ++i) moment += weight[i] * products[i];
      moment -= static_cast<double>(a.center[d]) * products[last];
      const ChannelGradient found =
          normalization_gradient_of(products[last], moment, of[0], of[a.outputs], of[2 * a.outputs],
                                    of[3 * a.outputs], static_cast<double>(a.rows), a.batch);
      const double c = found.c, a0 = found.a0, a1 = found.a1;
      const auto gradient = [&](int64_t i) { return (c * products[i] - a1 * cross_moments[i]) - a0 * sums[i]; };
      const double bias = gradient(last);
      float* to = a.weight + d * last;
      for (int64_t channel = 0; channel < a.channels; ++channel) {
        const double shift = bias * static_cast<double>(a.origin[channel]);
        for (int64_t i = channel * a.taps; i < (channel + 1) * a.taps; ++i) {
          to[i] = static_cast<float>(gradient(i) + shift);
        }
      }
      a.bias[d] = static_cast<float>(bias);
      a.gamma[d] = found.weight;
      a.beta[d] = found.bias;
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
