// Constants of batch normalisation, channel by channel in float64; fqt_core/ops/hwnc/normalization.py specifies each operation.
#include <cmath>

#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

inline float take_up(float running, double batch, double momentum) {
  return static_cast<float>((1.0 - momentum) * static_cast<double>(running) + momentum * batch);
}

}  // namespace

namespace portable {

void hwnc_normalization(const NormalizationArguments& a, const Threads& /*threads*/) {
  const auto rows = static_cast<double>(a.rows);
  double *scales = a.constants, *inverses = scales + a.channels, *gammas = inverses + a.channels;
  double* centers = gammas + a.channels;
  for (int64_t d = 0; d < a.channels; ++d) {
    const double scale = a.alpha == nullptr ? 1.0 : a.alpha[d], shift = a.shift == nullptr ? 0.0 : a.shift[d];
    double center, variance, offset;
    if (a.first == nullptr) {
      variance = a.running_var[d];
      offset = shift - static_cast<double>(a.running_mean[d]);
      center = scale == 0.0 ? 0.0 : -offset / scale;
    } else {
      const double mean = a.first[d] / rows, spread = a.second[d] / rows - mean * mean;
      center = a.origin == nullptr ? mean : mean + static_cast<double>(a.origin[d]);
      variance = scale * scale * (spread < 0.0 ? 0.0 : spread);
      offset = -(scale * center);
      a.running_mean[d] = take_up(a.running_mean[d], shift - offset, a.momentum);
      a.running_var[d] = take_up(a.running_var[d], variance * (rows / (rows - 1.0)), a.momentum);
    }
    const double inverse = 1.0 / std::sqrt(variance + a.eps), gamma = a.weight[d], slope = gamma * inverse;
    a.a[d] = static_cast<float>(slope * scale);
    a.b[d] = static_cast<float>(static_cast<double>(a.bias[d]) + slope * offset);
    a.center[d] = static_cast<float>(center);
    scales[d] = scale;
    inverses[d] = inverse;
    gammas[d] = gamma;
    centers[d] = center;
  }
}

void hwnc_normalization_gradient(const NormalizationGradientArguments& a, const Threads& /*threads*/) {
  const auto rows = static_cast<double>(a.rows);
  bool finite = true;
  for (int64_t d = 0; d < a.channels; ++d) {
    const double scale = a.constants[d], inverse = a.constants[a.channels + d], gamma = a.constants[2 * a.channels + d];
    const double center = a.constants[3 * a.channels + d], total = a.total[d];
    const double moment = a.moment[d] + (static_cast<double>(static_cast<float>(center)) - center) * total;
    const double weight = scale * inverse * moment, c = gamma * inverse;
    const double a1 = a.batch ? c * scale * inverse * weight / rows : 0.0;
    a.a0[d] = a.batch ? static_cast<float>(c * total / rows - a1 * center) : 0.0F;
    a.a1[d] = static_cast<float>(a1);
    a.c[d] = static_cast<float>(c);
    a.weight[d] = static_cast<float>(weight);
    a.bias[d] = static_cast<float>(total);
    a.shift[d] = a.batch ? 0.0F : static_cast<float>(c * total);
    finite = finite && std::isfinite(total) && std::isfinite(a.moment[d]);
  }
  *a.finite = finite;
}

}  // namespace portable
}  // namespace fqt
