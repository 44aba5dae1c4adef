// The rim of the operations that run several blocks each way (fqt_core/ops/hwnc/chain.py), put together from others: where images are
// small, a call from Python and what lies between two of them take about as long as a kernel. See rim.h.
#pragma once

#include <initializer_list>
#include <utility>

#include "hwnc_block.h"
#include "hwnc_codes.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

using MaybeTensors = std::vector<std::optional<Tensor>>;

// Refuses lists, each by its name and length, that do not have `each` entries for each of so many blocks.
inline void check_lists(size_t blocks, size_t each, std::initializer_list<std::pair<const char*, size_t>> lists) {
  for (const auto& [name, size] : lists) check_count(name, size, each * blocks);
}

inline Tensor copy_of(const char* name, const Tensor& vector_) {
  const Tensor vector = input<float>(name, vector_);
  check_dim(name, vector, 1);
  Tensor result = new_tensor(vector, {vector.numel()}, ScalarType::Float);
  std::copy_n(data_of<float>(vector), vector.numel(), result_of<float>(result));
  return result;
}

constexpr const char* schema_hwnc_chain_forward =
    "(Tensor x, Tensor[] weight, int[] channels, int[] geometry, bool[] pool, Tensor[] running_mean, Tensor[] running_var,"
    " Tensor[] gamma, Tensor[] beta, Tensor?[] alpha, Tensor?[] shift, float[] momentum, float[] eps, bool keep)"
    " -> (Tensor, Tensor[])";
template <typename Kernels>
std::tuple<Tensor, Tensors> hwnc_chain_forward(Tensor x, Tensors weight, Sizes channels, Sizes geometry, std::vector<bool> pool,
                                               Tensors running_mean, Tensors running_var, Tensors gamma, Tensors beta,
                                               MaybeTensors alpha, MaybeTensors shift, std::vector<double> momentum,
                                               std::vector<double> eps, bool keep) {
  const size_t blocks = weight.size();
  STD_TORCH_CHECK(blocks > 0, "weight has no entries");
  check_lists(blocks, 1,
              {{"channels", channels.size()},
               {"pool", pool.size()},
               {"running_mean", running_mean.size()},
               {"running_var", running_var.size()},
               {"gamma", gamma.size()},
               {"beta", beta.size()},
               {"alpha", alpha.size()},
               {"shift", shift.size()},
               {"momentum", momentum.size()},
               {"eps", eps.size()}});
  check_lists(blocks, 6, {{"geometry", geometry.size()}});
  Tensors found;
  for (size_t i = 0;; ++i) {
    const auto pair = [&](size_t which) { return pair_of(geometry, i, 3, which); };
    const bool last = i + 1 == blocks;
    Tensor mean = copy_of("running_mean", running_mean[i]), var = copy_of("running_var", running_var[i]);
    auto [sign, window, h, y, choice, a, b, center, constants] =
        run_block<Kernels>(x, weight[i], channels[i], pair(0), pair(1), pair(2), pool[i], mean, var, gamma[i], beta[i], alpha[i],
                           shift[i], momentum[i], eps[i], std::nullopt, keep && last);
    x = sign;
    for (Tensor* const result : {&sign, &window, &y, &choice, &a, &b, &center, &constants, &mean, &var}) {
      found.push_back(std::move(*result));
    }
    if (last) return {h, found};
  }
}

constexpr const char* schema_hwnc_chain_gradient =
    "(Tensor g, Tensor index, Tensor[] y, Tensor?[] choice, Tensor[] center, Tensor[] constants, Tensor[] alpha,"
    " Tensor[] weight, Tensor[] window, int[] channels, int[] geometry, int[] kept, int[] bits, str pruning, int seed,"
    " int step, int[] layer, int[4] purposes) -> (Tensor, Tensor, Tensor[])";
template <typename Kernels>
std::tuple<Tensor, Tensor, Tensors> hwnc_chain_gradient(Tensor g, Tensor index, Tensors y, MaybeTensors choice, Tensors center,
                                                        Tensors constants, Tensors alpha, Tensors weight, Tensors window,
                                                        Sizes channels, Sizes geometry, Sizes kept, Sizes bits,
                                                        std::string pruning, int64_t seed, int64_t step, Sizes layer,
                                                        Sizes purposes) {
  const size_t blocks = y.size();
  STD_TORCH_CHECK(blocks > 0, "y has no entries");
  check_lists(blocks, 1,
              {{"choice", choice.size()},
               {"center", center.size()},
               {"constants", constants.size()},
               {"alpha", alpha.size()},
               {"weight", weight.size()},
               {"window", window.size()},
               {"channels", channels.size()},
               {"layer", layer.size()}});
  check_lists(blocks, 2, {{"kept", kept.size()}, {"bits", bits.size()}});
  check_lists(blocks, 6, {{"geometry", geometry.size()}});
  Tensors found;
  for (size_t i = 0; i < blocks; ++i) {
    const auto pair = [&](size_t which) { return pair_of(geometry, i, 3, which); };
    check_words("weight", weight[i], 4, channels[i]);
    check_words("window", window[i], 4, channels[i]);
    const Sizes size{window[i].size(0), window[i].size(1)};
    const ConvShape s = conv_shape({window[i].size(2), channels[i], size[0], size[1]}, weight[i].size(0),
                                   {weight[i].size(1), weight[i].size(2)}, pair(0), pair(1), pair(2), 1);
    auto [of_weight, of_shift, of_bias, facts, codes, samples, factor, scale, offset, channel_codes, kept_channels,
          channel_factor, channel_scale, channel_offset] =
        hwnc_gradient_codes<Kernels>(g, y[i], index, center[i], constants[i], true, alpha[i], choice[i],
                                     {s.out_height, s.out_width}, pair_of(kept, i, 1, 0), pair_of(bits, i, 1, 0), pruning, seed,
                                     step, layer[i], purposes);
    if (codes.dim() == 1) break;  // the gradient is not finite, or all of it is zero
    g = hwnc_input_gradient<Kernels::hwnc_input_gradient>(codes, weight[i], channels[i], size, pair(0), pair(1), pair(2), scale,
                                                          offset, window[i], samples);
    index = std::move(samples);
    for (Tensor* const result :
         {&of_weight, &of_shift, &of_bias, &channel_codes, &kept_channels, &channel_scale, &channel_offset}) {
      found.push_back(std::move(*result));
    }
  }
  if (found.empty()) return {torch::stable::clone(g), torch::stable::clone(index), found};  // results are not arguments
  return {g, index, found};
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
