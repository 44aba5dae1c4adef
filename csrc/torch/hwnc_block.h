// The rim of the operation that runs a block forward (fqt_core/ops/hwnc/block.py), put together from others; see hwnc_codes.h.
#pragma once

#include <algorithm>

#include "best_kernels.h"
#include "hwnc.h"
#include "hwnc_normalization.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// 1 where the scale that follows is negative.
inline Tensor flips(const Tensor& like, const std::optional<Tensor>& alpha_, int64_t channels) {
  Tensor flip = new_tensor(like, {channels}, ScalarType::Byte);
  uint8_t* const flipped = result_of<uint8_t>(flip);
  if (!alpha_) {
    std::fill(flipped, flipped + channels, uint8_t{0});
    return flip;
  }
  const Tensor alpha = channel_vector("alpha", *alpha_, channels);
  const float* const scale = data_of<float>(alpha);
  std::transform(scale, scale + channels, flipped, [](float value) { return static_cast<uint8_t>(value < 0); });
  return flip;
}

using BlockResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// A block's forward pass, whose statistics go into the running ones with the given momentum.
template <typename Kernels>
BlockResults run_block(const Tensor& x, const Tensor& weight, int64_t channels, const Sizes& stride, const Sizes& padding,
                       const Sizes& dilation, bool pool, const Tensor& running_mean, const Tensor& running_var,
                       const Tensor& gamma, const Tensor& beta, const std::optional<Tensor>& alpha,
                       const std::optional<Tensor>& shift, double momentum, double eps, const std::optional<Tensor>& residual,
                       bool keep) {
  auto [y, total, square] =
      hwnc_binary_conv2d<Kernels::hwnc_binary_conv2d>(x, weight, channels, stride, padding, dilation);
  Tensor choice = new_tensor(y, {0}, ScalarType::Byte);
  if (pool) {
    const Tensor flip = flips(y, alpha, y.size(3));
    std::tie(y, choice, total, square) = hwnc_max_pool2d<Kernels::hwnc_max_pool2d>(y, flip);
  }
  const auto [a, b, center, constants] = hwnc_normalization<Kernels::hwnc_normalization>(
      running_mean, running_var, gamma, beta, alpha, shift, std::nullopt, total, square, product(y, 3), momentum, eps);
  const auto [sign, window, h] = hwnc_affine_sign<Kernels::hwnc_affine_sign>(y, a, b, residual, keep);
  return {sign, window, h, y, choice, a, b, center, constants};
}

constexpr const char* schema_hwnc_block_forward =
    "(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation, bool pool,"
    " Tensor(a!) running_mean, Tensor(b!) running_var, Tensor(c!) batches, Tensor gamma, Tensor beta, Tensor? alpha,"
    " Tensor? shift, float? momentum, float eps, Tensor(d!)? residual, bool keep)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)";
template <typename Kernels>
BlockResults hwnc_block_forward(Tensor x, Tensor weight, int64_t channels, Sizes stride, Sizes padding, Sizes dilation,
                                bool pool, Tensor running_mean, Tensor running_var, Tensor batches, Tensor gamma, Tensor beta,
                                std::optional<Tensor> alpha, std::optional<Tensor> shift, std::optional<double> momentum,
                                double eps, std::optional<Tensor> residual, bool keep) {
  check_in_place<int64_t>("batches", batches);
  check_dim("batches", batches, 0);
  int64_t* const count = result_of<int64_t>(batches);
  const double share = momentum.value_or(1 / static_cast<double>(*count + 1));
  BlockResults found = run_block<Kernels>(x, weight, channels, stride, padding, dilation, pool, running_mean, running_var,
                                          gamma, beta, alpha, shift, share, eps, residual, keep);
  *count += 1;
  return found;
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
