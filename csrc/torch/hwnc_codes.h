// The rim of the operation that makes codes of a block's gradient (fqt_core/ops/hwnc/codes.py), put together from others: where
// images are small, what would lie between them in Python takes longer than they do. See rim.h.
#pragma once

#include <algorithm>
#include <cmath>

#include "best_kernels.h"
#include "hwnc.h"
#include "hwnc_normalization.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// The groups that are kept, samples or channels, and what their codes stand for.
struct KeptGroups {
  Tensor index, factor, lo, hi, scale, offset;
};

template <typename Kernels>
KeptGroups keep_groups(const Tensor& lo, const Tensor& hi, int64_t kept, int64_t bits, const std::string& pruning,
                       int64_t seed, int64_t step, int64_t layer, int64_t purpose) {
  const auto [index, factor] = select_groups<Kernels::select_groups>(lo, hi, kept, pruning, seed, step, layer, purpose);
  const auto [kept_lo, kept_hi, scale, offset] = kept_ranges<Kernels::kept_ranges>(lo, hi, index, factor, bits);
  return {index, factor, kept_lo, kept_hi, scale, offset};
}

constexpr const char* schema_hwnc_gradient_codes =
    "(Tensor g, Tensor y, Tensor index, Tensor center, Tensor constants, bool batch, Tensor alpha, Tensor? choice,"
    " int[2] size, int[2] kept, int[2] bits, str pruning, int seed, int step, int layer, int[4] purposes)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)";
template <typename Kernels>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>
hwnc_gradient_codes(Tensor g_, Tensor y_, Tensor index_, Tensor center, Tensor constants, bool batch, Tensor alpha,
                    std::optional<Tensor> choice, Sizes size, Sizes kept, Sizes bits, std::string pruning, int64_t seed,
                    int64_t step, int64_t layer, Sizes purposes) {
  const GradientInput in(g_, y_, index_);
  const Tensor &g = in.g, &y = in.y, &index = in.index;
  check_pair("kept", kept);
  check_pair("bits", bits);
  STD_TORCH_CHECK(purposes.size() == 4, "purposes must be 4 numbers, got ", purposes.size());
  const auto [first, second] = hwnc_gradient_sums<Kernels::hwnc_gradient_sums>(g, y, index, center);
  const auto [c, a0, a1, weight, shift, bias, finite] =
      hwnc_normalization_gradient<Kernels::hwnc_normalization_gradient>(first, second, constants, product(y, 3), batch);
  Tensor facts = new_tensor(g, {4}, ScalarType::Float);
  float* const fact = result_of<float>(facts);
  std::fill(fact, fact + 4, 0.0F);
  const auto nothing = [&] {
    const auto none = [&](ScalarType type) { return new_tensor(g, {0}, type); };
    constexpr ScalarType code = ScalarType::Byte, place = ScalarType::Long, real = ScalarType::Float;
    return std::make_tuple(weight, shift, bias, facts, none(code), none(place), none(real), none(real), none(real), none(code),
                           none(place), none(real), none(real), none(real));
  };
  if (!data_of<bool>(finite)[0]) return nothing();
  const auto [lo, hi, channel_lo, channel_hi, reach] =
      hwnc_gradient_range<Kernels::hwnc_gradient_range>(g, y, index, c, a0, a1, alpha, choice.has_value());
  const float *least = data_of<float>(channel_lo), *greatest = data_of<float>(channel_hi);
  fact[0] = 1;
  fact[1] = data_of<float>(reach)[0];
  fact[2] = *std::min_element(least, least + in.channels());
  fact[3] = *std::max_element(greatest, greatest + in.channels());
  if (!std::isfinite(fact[1]) || fact[1] == 0) return nothing();
  const auto keep = [&](const Tensor& low, const Tensor& high, size_t which) {
    return keep_groups<Kernels>(low, high, kept[which], bits[which], pruning, seed, step, layer, purposes[2 * which]);
  };
  const KeptGroups s = keep(lo, hi, 0), d = keep(channel_lo, channel_hi, 1);
  Tensor sample_codes = hwnc_quantize_samples<Kernels::hwnc_quantize_samples>(
      g, y, index, c, a0, a1, alpha, choice, size, s.index, s.lo, s.hi, bits[0], seed, step, layer, purposes[1]);
  Tensor channel_codes = hwnc_quantize_channels<Kernels::hwnc_quantize_channels>(
      g, y, index, c, a0, a1, choice, size, d.index, d.lo, d.hi, bits[1], seed, step, layer, purposes[3]);
  return {weight,  shift,    bias,          facts,   sample_codes, s.index, s.factor,
          s.scale, s.offset, channel_codes, d.index, d.factor,     d.scale, d.offset};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
