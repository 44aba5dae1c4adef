// The rim of the operations where a chain begins (fqt_core/ops/hwnc/entry.py); see rim.h.
#pragma once

#include "hwnc.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// Floats (samples, height, width, channels).
inline Tensor pixels(const char* name, const Tensor& x_) {
  const Tensor x = input<float>(name, x_);
  check_dim(name, x, 4);
  STD_TORCH_CHECK(x.numel() > 0, name, " is empty");
  return x;
}

constexpr const char* schema_hwnc_entry_moments = "(Tensor x) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> hwnc_entry_moments(Tensor x_) {
  const Tensor x = pixels("x", x_);
  Tensor first = new_tensor(x, {x.size(3)}, ScalarType::Double), second = new_tensor(x, {x.size(3)}, ScalarType::Double);
  kernel({data_of<float>(x), product(x, 3), x.size(3), result_of<double>(first), result_of<double>(second)}, threads);
  return {first, second};
}

constexpr const char* schema_hwnc_enter =
    "(Tensor x, Tensor a, Tensor b, Tensor(a!) sign, Tensor(b!) window, Tensor(c!)? h, int first) -> ()";
template <auto kernel>
void hwnc_enter(Tensor x_, Tensor a_, Tensor b_, Tensor sign, Tensor window, std::optional<Tensor> h, int64_t first) {
  const Tensor x = pixels("x", x_);
  const int64_t samples = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  const Tensor a = channel_vector("a", a_, channels), b = channel_vector("b", b_, channels);
  check_in_place<int64_t>("sign", sign);
  check_in_place<int64_t>("window", window);
  check_dim("sign", sign, 4);
  const int64_t room = sign.size(2);
  STD_TORCH_CHECK(first >= 0 && first <= room && samples <= room - first, samples, " samples from ", first,
                  " on do not fit a room of ", room);
  const auto check_room = [&](const char* name, const Tensor& result, int64_t last) {
    check_dim(name, result, 4);
    check_size(name, result, 0, height);
    check_size(name, result, 1, width);
    check_size(name, result, 2, room);
    check_size(name, result, 3, last);
  };
  check_room("sign", sign, words_for(channels));
  check_room("window", window, words_for(channels));
  if (h) {
    check_in_place("h", *h);
    check_room("h", *h, channels);
  }
  kernel({data_of<float>(x), data_of<float>(a), data_of<float>(b), samples, height * width, channels, first, room,
          result_of<uint64_t>(sign), result_of<uint64_t>(window), h ? result_of<float>(*h) : nullptr},
         threads);
}

// A gradient of some samples in the chain's layout, and the floats that it belongs to; holds the tensors alive.
struct EntryInput {
  Tensor g, index, x;

  EntryInput(const Tensor& g_, const Tensor& index_, const Tensor& x_)
      : g(input<float>("g", g_)), index(input<int64_t>("index", index_)), x(pixels("x", x_)) {
    check_rising_index("index", index, x.size(0));
    check_dim("g", g, 4);
    check_size("g", g, 0, x.size(1));
    check_size("g", g, 1, x.size(2));
    check_size("g", g, 2, index.size(0));
    check_size("g", g, 3, x.size(3));
  }

  EntryGradient get() const {
    return {data_of<float>(g), data_of<int64_t>(index), index.size(0), data_of<float>(x), x.size(0),
            x.size(1) * x.size(2), x.size(3)};
  }
};

constexpr const char* schema_hwnc_entry_sums =
    "(Tensor g, Tensor index, Tensor x, Tensor center) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> hwnc_entry_sums(Tensor g_, Tensor index_, Tensor x_, Tensor center_) {
  const EntryInput in(g_, index_, x_);
  const int64_t channels = in.x.size(3);
  const Tensor center = channel_vector("center", center_, channels);
  Tensor first = new_tensor(in.x, {channels}, ScalarType::Double), second = new_tensor(in.x, {channels}, ScalarType::Double);
  kernel({in.get(), data_of<float>(center), result_of<double>(first), result_of<double>(second)}, threads);
  return {first, second};
}

constexpr const char* schema_hwnc_leave =
    "(Tensor g, Tensor index, Tensor x, Tensor c, Tensor a0, Tensor a1) -> Tensor";
template <auto kernel>
Tensor hwnc_leave(Tensor g_, Tensor index_, Tensor x_, Tensor c_, Tensor a0_, Tensor a1_) {
  const EntryInput in(g_, index_, x_);
  const int64_t channels = in.x.size(3);
  const Tensor c = channel_vector("c", c_, channels), a0 = channel_vector("a0", a0_, channels);
  const Tensor a1 = channel_vector("a1", a1_, channels);
  Tensor result = new_tensor(in.x, all_sizes(in.x), ScalarType::Float);
  kernel({in.get(), data_of<float>(c), data_of<float>(a0), data_of<float>(a1), result_of<float>(result)}, threads);
  return result;
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
