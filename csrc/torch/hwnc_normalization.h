// The rim of the constants of batch normalisation (fqt_core/ops/hwnc/normalization.py); see rim.h.
#pragma once

#include "hwnc.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// Sums of a channel each, exact integers or floats.
inline Tensor sums(const char* name, const Tensor& sums_, int64_t channels) {
  check_vector(name, sums_, channels);
  if (sums_.scalar_type() != ScalarType::Long) return input<double>(name, sums_);
  const Tensor integers = input<int64_t>(name, sums_);
#if defined(FQT_RIM_CUDA)
  return torch::stable::to(integers, ScalarType::Double);
#else
  Tensor result = new_tensor(integers, {channels}, ScalarType::Double);
  for (int64_t d = 0; d < channels; ++d) result_of<double>(result)[d] = static_cast<double>(data_of<int64_t>(integers)[d]);
  return result;
#endif
}

// A vector that may be missing; holds it alive.
template <typename T>
struct Optional {
  std::optional<Tensor> tensor;
  const T* data() const { return tensor ? data_of<T>(*tensor) : nullptr; }
};

constexpr const char* schema_hwnc_normalization =
    "(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor weight, Tensor bias, Tensor? alpha, Tensor? shift,"
    " Tensor? origin, Tensor? first, Tensor? second, int rows, float momentum, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor> hwnc_normalization(
    Tensor running_mean, Tensor running_var, Tensor weight_, Tensor bias_, std::optional<Tensor> alpha_,
    std::optional<Tensor> shift_, std::optional<Tensor> origin_, std::optional<Tensor> first_,
    std::optional<Tensor> second_, int64_t rows, double momentum, double eps) {
  check_in_place("running_mean", running_mean);
  check_in_place("running_var", running_var);
  check_dim("running_mean", running_mean, 1);
  const int64_t channels = running_mean.size(0);
  check_vector("running_var", running_var, channels);
  const Tensor weight = channel_vector("weight", weight_, channels), bias = channel_vector("bias", bias_, channels);
  const auto vector = [&](const char* name, const std::optional<Tensor>& given) -> Optional<float> {
    if (!given) return {std::nullopt};
    return {channel_vector(name, *given, channels)};
  };
  const auto alpha = vector("alpha", alpha_), shift = vector("shift", shift_), origin = vector("origin", origin_);
  STD_TORCH_CHECK(first_.has_value() == second_.has_value(), "first and second go together");
  Optional<double> first, second;
  if (first_) {
    STD_TORCH_CHECK(rows >= 2, "rows must be at least 2, got ", rows);
    first.tensor = sums("first", *first_, channels);
    second.tensor = sums("second", *second_, channels);
  }
  Tensor a = new_tensor(weight, {channels}, ScalarType::Float), b = new_tensor(weight, {channels}, ScalarType::Float);
  Tensor center = new_tensor(weight, {channels}, ScalarType::Float);
  Tensor constants = new_tensor(weight, {4, channels}, ScalarType::Double);
  kernel({result_of<float>(running_mean), result_of<float>(running_var), data_of<float>(weight), data_of<float>(bias),
          alpha.data(), shift.data(), origin.data(), first.data(), second.data(), channels, rows, momentum, eps,
          result_of<float>(a), result_of<float>(b), result_of<float>(center), result_of<double>(constants)},
         threads);
  return {a, b, center, constants};
}

constexpr const char* schema_hwnc_normalization_gradient =
    "(Tensor total, Tensor moment, Tensor constants, int rows, bool batch)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> hwnc_normalization_gradient(
    Tensor total_, Tensor moment_, Tensor constants_, int64_t rows, bool batch) {
  check_dim("total", total_, 1);
  const int64_t channels = total_.size(0);
  const Tensor total = sums("total", total_, channels), moment = sums("moment", moment_, channels);
  const Tensor constants = input<double>("constants", constants_);
  check_dim("constants", constants, 2);
  check_size("constants", constants, 0, 4);
  check_size("constants", constants, 1, channels);
  STD_TORCH_CHECK(rows >= 1, "rows must be at least 1, got ", rows);
  const auto vector = [&] { return new_tensor(total, {channels}, ScalarType::Float); };
  Tensor c = vector(), a0 = vector(), a1 = vector(), weight = vector(), bias = vector(), shift = vector();
  Tensor finite = new_tensor(total, {}, ScalarType::Bool);
  kernel({data_of<double>(total), data_of<double>(moment), data_of<double>(constants), channels, rows, batch,
          result_of<float>(c), result_of<float>(a0), result_of<float>(a1), result_of<float>(weight), result_of<float>(bias),
          result_of<float>(shift), result_of<bool>(finite)},
         threads);
  return {c, a0, a1, weight, bias, shift, finite};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
