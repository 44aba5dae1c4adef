// The rim of the optimiser's step on the latents of all layers (fqt_core/ops/adam.py), put together from others: a layer's update
// needs nothing of another's, so that each thread takes whole layers, and nobody waits between them. See rim.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <numeric>

#include "adam.h"
#include "best_kernels.h"
#include "hwnc.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// Products of a gradient that is made on the way, in the time that one latent's step takes: 400 were measured with AVX-512.
constexpr int64_t products_per_latent = 400;

// Calls update(i) for all layers, of which number i is so much work. Threads take layers, the largest first, or all of them each
// layer, one after the other, where that leaves none waiting for the one with the largest.
template <typename Function>
void update_layers(const Sizes& work, Function update) {
  const int64_t count = static_cast<int64_t>(work.size()), all = std::accumulate(work.begin(), work.end(), int64_t{0});
  const int64_t slots = std::min<int64_t>(torch::stable::get_num_threads(), count);
  if (slots <= 1 || all < slots * threads.worthwhile || *std::max_element(work.begin(), work.end()) > all / slots) {
    for (int64_t i = 0; i < count; ++i) update(static_cast<size_t>(i));
    return;
  }
  std::vector<size_t> order(work.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return work[a] > work[b]; });
  std::atomic<size_t> next{0};
  auto take = [&] {
    for (size_t i = next++; i < order.size(); i = next++) update(order[i]);
  };
  using Take = decltype(take);
  run_in_pool(slots, slots, 1, 1, [](void* all, int64_t /*begin*/, int64_t /*end*/) { (*static_cast<Take*>(all))(); }, &take);
}

constexpr const char* schema_adam_binary_all_ =
    "(Tensor(a!)[] weight, Tensor(b!)[] exp_avg, Tensor(c!)[] exp_avg_sq, Tensor[] gradient, Tensor[] index, Tensor[] codes,"
    " Tensor[] scale, Tensor[] offset, Tensor[] alpha, int[] geometry, float lr, float beta1, float beta2, float eps,"
    " float weight_decay, int[] step, bool clamp) -> (Tensor, Tensor)";
template <typename Kernels>
std::tuple<Tensor, Tensor> adam_binary_all_(Tensors weight, Tensors exp_avg, Tensors exp_avg_sq, Tensors gradient,
                                            Tensors index, Tensors codes, Tensors scale, Tensors offset, Tensors alpha,
                                            Sizes geometry, double lr, double beta1, double beta2, double eps,
                                            double weight_decay, Sizes step, bool clamp) {
  constexpr size_t pairs = 4;  // of a layer's geometry: kernel, stride, padding, dilation
  const size_t layers = weight.size();
  STD_TORCH_CHECK(layers > 0, "weight has no entries");
  check_count("exp_avg", exp_avg.size(), layers);
  check_count("exp_avg_sq", exp_avg_sq.size(), layers);
  check_count("gradient", gradient.size(), layers);
  check_count("index", index.size(), layers);
  check_count("step", step.size(), layers);
  std::vector<size_t> product(layers);  // of which product a layer's gradient is the result, if it is one
  size_t products = 0;
  Sizes work, words_before{0}, outputs_before{0};
  for (size_t i = 0; i < layers; ++i) {
    check_latents("weight", weight[i]);
    work.push_back(weight[i].numel());
    words_before.push_back(words_before.back() + Signs::words_of(weight[i]));
    outputs_before.push_back(outputs_before.back() + weight[i].size(0));
    if (gradient[i].scalar_type() == ScalarType::Long) product[i] = products++;
  }
  check_count("codes", codes.size(), products);
  check_count("scale", scale.size(), products);
  check_count("offset", offset.size(), products);
  check_count("alpha", alpha.size(), products);
  check_count("geometry", geometry.size(), 2 * pairs * products);
  for (size_t i = 0; i < layers; ++i) {
    if (gradient[i].scalar_type() != ScalarType::Long) continue;
    work[i] += codes[product[i]].numel() * (weight[i].numel() / weight[i].size(0)) / products_per_latent;
  }

  const auto rows_of = [&](size_t i) {
    if (gradient[i].scalar_type() != ScalarType::Long) return gradient[i];
    const size_t p = product[i];
    const auto pair = [&](size_t which) { return pair_of(geometry, p, pairs, which); };
    Tensor rows = hwnc_weight_gradient<Kernels::hwnc_weight_gradient>(gradient[i], codes[p], weight[i].size(2), pair(0), pair(1),
                                                                      pair(2), pair(3), scale[p], offset[p]);
    const int64_t kept = rows.size(0), size = kept == 0 ? 0 : rows.numel() / kept;
    const Tensor factor = channel_vector("alpha", alpha[p], weight[i].size(0)), place = input<int64_t>("index", index[i]);
    check_rising_index("index", place, weight[i].size(0));
    check_size("index", place, 0, kept);
    float* row = result_of<float>(rows);
    for (int64_t k = 0; k < kept; ++k, row += size) {
      const float by = data_of<float>(factor)[data_of<int64_t>(place)[k]];
      for (int64_t j = 0; j < size; ++j) row[j] *= by;
    }
    return torch::stable::view(rows, {kept, rows.size(1) * rows.size(2), rows.size(3)});
  };
  Tensor words = new_tensor(weight[0], {words_before.back()}, ScalarType::Long);
  Tensor magnitude = new_tensor(weight[0], {outputs_before.back()}, ScalarType::Float);
  auto* const word = result_of<uint64_t>(words);
  auto* const mean = result_of<float>(magnitude);
  update_layers(work, [&](size_t i) {
    step_latents<Kernels::adam_binary_>(weight[i], exp_avg[i], exp_avg_sq[i], rows_of(i), index[i], lr, beta1, beta2, eps,
                                        weight_decay, step[i], clamp, {word + words_before[i], mean + outputs_before[i]});
  });
  return {words, magnitude};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
