// The rim of the optimiser's operations (fqt_core/ops/adam.py); see rim.h.
#pragma once

#include <cmath>

#include "rim.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

inline void check_latents(const char* name, const Tensor& rows) {
  check_dim(name, rows, 3);
  STD_TORCH_CHECK(rows.numel() > 0, name, " is empty");
}

constexpr const char* schema_mean_magnitude = "(Tensor weight) -> Tensor";
template <auto kernel>
Tensor mean_magnitude(Tensor weight_) {
  const Tensor weight = input<float>("weight", weight_);
  check_latents("weight", weight);
  Tensor mean = new_tensor(weight, {weight.size(0)}, ScalarType::Float);
  kernel({data_of<float>(weight), weight.size(0), weight.size(1), weight.size(2), result_of<float>(mean)}, threads);
  return mean;
}

// Where a step's results go.
struct Signs {
  uint64_t* words;
  float* scale;

  static int64_t words_of(const Tensor& weight) { return weight.size(0) * weight.size(1) * words_for(weight.size(2)); }
};

template <auto kernel>
void step_latents(const Tensor& weight, const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient_,
                  const Tensor& index_, double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                  bool clamp, const Signs& signs) {
  check_in_place("weight", weight);
  check_in_place("exp_avg", exp_avg);
  check_in_place("exp_avg_sq", exp_avg_sq);
  check_latents("weight", weight);
  const Tensor gradient = input<float>("gradient", gradient_), index = input<int64_t>("index", index_);
  check_rising_index("index", index, weight.size(0));
  check_dim("exp_avg", exp_avg, 3);
  check_dim("exp_avg_sq", exp_avg_sq, 3);
  check_dim("gradient", gradient, 3);
  check_size("gradient", gradient, 0, index.size(0));
  for (int64_t i = 0; i < 3; ++i) {
    check_size("exp_avg", exp_avg, i, weight.size(i));
    check_size("exp_avg_sq", exp_avg_sq, i, weight.size(i));
    if (i > 0) check_size("gradient", gradient, i, weight.size(i));
  }
  STD_TORCH_CHECK(step >= 1, "step must be at least 1, got ", step);
  const double root = std::sqrt(1.0 - std::pow(beta2, static_cast<double>(step)));
  const double rate = lr * root / (1.0 - std::pow(beta1, static_cast<double>(step)));
  const auto rounded = [](double value) { return static_cast<float>(value); };
  kernel({result_of<float>(weight), result_of<float>(exp_avg), result_of<float>(exp_avg_sq), data_of<float>(gradient),
          data_of<int64_t>(index), index.size(0), weight.size(0), weight.size(1), weight.size(2), rounded(weight_decay),
          rounded(1.0 - beta1), rounded(beta2), rounded(1.0 - beta2), rounded(rate), rounded(eps * root), clamp, signs.words,
          signs.scale},
         threads);
}

constexpr const char* schema_adam_binary_ =
    "(Tensor(a!) weight, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, Tensor gradient, Tensor index, float lr, float beta1,"
    " float beta2, float eps, float weight_decay, int step, bool clamp) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> adam_binary_(Tensor weight, Tensor exp_avg, Tensor exp_avg_sq, Tensor gradient, Tensor index,
                                        double lr, double beta1, double beta2, double eps, double weight_decay,
                                        int64_t step, bool clamp) {
  check_latents("weight", weight);
  Tensor words = new_tensor(weight, {weight.size(0), weight.size(1), words_for(weight.size(2))}, ScalarType::Long);
  Tensor scale = new_tensor(weight, {weight.size(0)}, ScalarType::Float);
  step_latents<kernel>(weight, exp_avg, exp_avg_sq, gradient, index, lr, beta1, beta2, eps, weight_decay, step, clamp,
                       {result_of<uint64_t>(words), result_of<float>(scale)});
  return {words, scale};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
