// The constants of batch normalisation of one channel, in float64; fqt_core/ops/hwnc/normalization.py specifies each operation.
#pragma once

#include "hwnc_arguments.h"

namespace fqt {
namespace {

// Mean (of the values that are normalised) and variance, and shift - mean of what the scale made of them.
struct ChannelMoments {
  double scale, center, variance, offset;
};

constexpr float take_up(float running, double batch, double momentum) {
  return static_cast<float>((1.0 - momentum) * static_cast<double>(running) + momentum * batch);
}

// `first` and `second` are used if there are sums: then the running ones take up the batch's.
constexpr ChannelMoments channel_moments_of(double scale, double shift, double origin, double first, double second, double rows,
                                            double momentum, bool sums, float& running_mean, float& running_var) {
  if (!sums) {
    const double offset = shift - static_cast<double>(running_mean);
    return {scale, scale == 0.0 ? 0.0 : -offset / scale, running_var, offset};
  }
  const double mean = first / rows, spread = second / rows - mean * mean;
  // -0 as an origin changes nothing.
  const double center = mean + origin, variance = scale * scale * (spread < 0.0 ? 0.0 : spread), offset = -(scale * center);
  running_mean = take_up(running_mean, shift - offset, momentum);
  running_var = take_up(running_var, variance * (rows / (rows - 1.0)), momentum);
  return {scale, center, variance, offset};
}

struct ChannelNormalization {
  float a, b, center;
};

// `inverse`: 1 / sqrt(variance + eps).
constexpr ChannelNormalization normalization_of(const ChannelMoments& m, double inverse, double gamma, double bias) {
  const double slope = gamma * inverse;
  return {static_cast<float>(slope * m.scale), static_cast<float>(bias + slope * m.offset), static_cast<float>(m.center)};
}

struct ChannelGradient {
  float c, a0, a1, weight, bias, shift;
  bool finite;
};

constexpr ChannelGradient normalization_gradient_of(double total, double of_center, double scale, double inverse, double gamma,
                                                    double center, double rows, bool batch) {
  const double moment = of_center + (static_cast<double>(static_cast<float>(center)) - center) * total;
  const double weight = scale * inverse * moment, c = gamma * inverse;
  const double a1 = batch ? c * scale * inverse * weight / rows : 0.0;
  return {static_cast<float>(c),
          batch ? static_cast<float>(c * total / rows - a1 * center) : 0.0F,
          static_cast<float>(a1),
          static_cast<float>(weight),
          static_cast<float>(total),
          batch ? 0.0F : static_cast<float>(c * total),
          total - total == 0.0 && of_center - of_center == 0.0};
}

}  // namespace
}  // namespace fqt
