// The rim of the normalisation behind the full-precision convolution before a chain
// (fqt_core/ops/stem_normalization.py); see rim.h.
#pragma once

#include "../cpu/kernels.h"
#include "hwnc_normalization.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

inline Tensor matrix(const char* name, const Tensor& matrix_, int64_t rows, int64_t columns) {
  const Tensor result = input<double>(name, matrix_);
  check_dim(name, result, 2);
  check_size(name, result, 0, rows);
  check_size(name, result, 1, columns);
  return result;
}

constexpr const char* schema_stem_normalization =
    "(Tensor weight, Tensor? bias, Tensor origin, Tensor moments, int rows, Tensor(a!) running_mean,"
    " Tensor(b!) running_var, Tensor(c!) batches, Tensor gamma, Tensor beta, float? momentum, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> stem_normalization(
    Tensor weight_, std::optional<Tensor> bias_, Tensor origin_, Tensor moments_, int64_t rows, Tensor running_mean,
    Tensor running_var, Tensor batches, Tensor gamma_, Tensor beta_, std::optional<double> momentum, double eps) {
  const Tensor weight = input<float>("weight", weight_);
  check_dim("weight", weight, 4);
  STD_TORCH_CHECK(weight.numel() > 0, "weight is empty");
  const int64_t outputs = weight.size(0), channels = weight.size(1), taps = weight.size(2) * weight.size(3);
  const int64_t inputs = channels * taps + 1;
  std::optional<Tensor> bias;
  if (bias_) bias = channel_vector("bias", *bias_, outputs);
  const Tensor origin = channel_vector("origin", origin_, channels);
  const Tensor moments = matrix("moments", moments_, inputs, inputs);
  STD_TORCH_CHECK(rows >= 2, "rows must be at least 2, got ", rows);
  check_in_place("running_mean", running_mean);
  check_vector("running_mean", running_mean, outputs);
  check_in_place<int64_t>("batches", batches);
  check_dim("batches", batches, 0);
  const Tensor gamma = channel_vector("gamma", gamma_, outputs), beta = channel_vector("beta", beta_, outputs);
  Tensor augmented = new_tensor(weight, {outputs, inputs}, ScalarType::Double);
  Tensor cross_moments = new_tensor(weight, {outputs, inputs}, ScalarType::Double);
  const auto vector = [&](ScalarType type) { return new_tensor(weight, {outputs}, type); };
  Tensor mean = vector(ScalarType::Float), first = vector(ScalarType::Double), second = vector(ScalarType::Double);
  kernel({data_of<float>(weight), bias ? data_of<float>(*bias) : nullptr, data_of<float>(origin),
          data_of<double>(moments), outputs, channels, taps, rows, result_of<double>(augmented),
          result_of<double>(cross_moments), result_of<float>(mean), result_of<double>(first),
          result_of<double>(second)},
         threads);
  int64_t* const count = result_of<int64_t>(batches);
  // There is no kernel of it but the portable one, on any instruction set.
  const auto [a, b, center, constants] = hwnc_normalization<&portable::hwnc_normalization>(
      running_mean, running_var, gamma, beta, std::nullopt, std::nullopt, mean, first, second, rows,
      momentum.value_or(1 / static_cast<double>(*count + 1)), eps);
  *count += 1;
  return {a, b, center, constants, augmented, cross_moments};
}

constexpr const char* schema_stem_gradient =
    "(Tensor products, Tensor augmented, Tensor cross_moments, Tensor moments, Tensor center, Tensor constants,"
    " Tensor origin, int[2] kernel_size, int rows, bool batch) -> (Tensor, Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> stem_gradient(
    Tensor products_, Tensor augmented_, Tensor cross_moments_, Tensor moments_, Tensor center_, Tensor constants_,
    Tensor origin_, Sizes kernel_size, int64_t rows, bool batch) {
  check_dim("products", products_, 2);
  const int64_t outputs = products_.size(0), inputs = products_.size(1);
  STD_TORCH_CHECK(outputs > 0 && inputs > 1, "products is empty");
  check_pair("kernel_size", kernel_size);
  const int64_t taps = kernel_size[0] * kernel_size[1];
  STD_TORCH_CHECK(taps > 0, "kernel_size must be two numbers of at least 1");
  const int64_t channels = (inputs - 1) / taps;
  STD_TORCH_CHECK(channels * taps == inputs - 1, "products must have columns for ", taps,
                  " taps of each channel and one more");
  const Tensor products = matrix("products", products_, outputs, inputs);
  const Tensor augmented = matrix("augmented", augmented_, outputs, inputs);
  const Tensor cross_moments = matrix("cross_moments", cross_moments_, outputs, inputs);
  const Tensor moments = matrix("moments", moments_, inputs, inputs);
  const Tensor constants = matrix("constants", constants_, 4, outputs);
  const Tensor center = channel_vector("center", center_, outputs);
  const Tensor origin = channel_vector("origin", origin_, channels);
  STD_TORCH_CHECK(rows >= 1, "rows must be at least 1, got ", rows);
  const auto vector = [&] { return new_tensor(products, {outputs}, ScalarType::Float); };
  Tensor weight = new_tensor(products, {outputs, channels, kernel_size[0], kernel_size[1]}, ScalarType::Float);
  Tensor bias = vector(), gamma = vector(), beta = vector(), finite = new_tensor(products, {}, ScalarType::Bool);
  kernel({data_of<double>(products), data_of<double>(augmented), data_of<double>(cross_moments),
          data_of<double>(moments), data_of<float>(center), data_of<double>(constants), data_of<float>(origin), outputs,
          channels, taps, rows, batch, result_of<float>(weight), result_of<float>(bias), result_of<float>(gamma),
          result_of<float>(beta), result_of<bool>(finite)},
         threads);
  return {weight, bias, gamma, beta, finite};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
