// Constants of batch normalisation, channel by channel.
#include "../normalization.h"

#include <cmath>

#include "../kernels.h"

namespace fqt {
namespace portable {

void hwnc_normalization(const NormalizationArguments& a, const Threads& /*threads*/) {
  for (int64_t d = 0; d < a.channels; ++d) {
    const bool sums = a.first != nullptr;
    const ChannelMoments moments = channel_moments_of(
        a.alpha == nullptr ? 1.0 : a.alpha[d], a.shift == nullptr ? 0.0 : a.shift[d], a.origin == nullptr ? -0.0 : a.origin[d],
        sums ? a.first[d] : 0.0, sums ? a.second[d] : 0.0, static_cast<double>(a.rows), a.momentum, sums, a.running_mean[d],
        a.running_var[d]);
    const double inverse = 1.0 / std::sqrt(moments.variance + a.eps);
    const ChannelNormalization found = normalization_of(moments, inverse, a.weight[d], a.bias[d]);
    a.a[d] = found.a;
    a.b[d] = found.b;
    a.center[d] = found.center;
    const double constants[] = {moments.scale, inverse, a.weight[d], moments.center};
    for (int64_t i = 0; i < 4; ++i) a.constants[i * a.channels + d] = constants[i];
  }
}

void hwnc_normalization_gradient(const NormalizationGradientArguments& a, const Threads& /*threads*/) {
  bool finite = true;
  for (int64_t d = 0; d < a.channels; ++d) {
    const double* of = a.constants + d;
    const ChannelGradient found =
        normalization_gradient_of(a.total[d], a.moment[d], of[0], of[a.channels], of[2 * a.channels], of[3 * a.channels],
                                  static_cast<double>(a.rows), a.batch);
    a.c[d] = found.c;
    a.a0[d] = found.a0;
    a.a1[d] = found.a1;
    a.weight[d] = found.weight;
    a.bias[d] = found.bias;
    a.shift[d] = found.shift;
    finite = finite && found.finite;
  }
  *a.finite = finite;
}

}  // namespace portable
}  // namespace fqt
