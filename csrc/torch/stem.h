// The rim of the operations of the full-precision convolution before a chain (fqt_core/ops/stem.py); see rim.h.
#pragma once

#include "../cpu/stem_arguments.h"
#include "hwnc.h"
#include "rim.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// Images (samples, channels, height, width), not empty, and a convolution of them; refuses what no memory holds.
inline ConvShape stem_shape(const Tensor& images, int64_t outputs, const Sizes& kernel_size, const Sizes& stride,
                            const Sizes& padding, const Sizes& dilation) {
  check_dim("images", images, 4);
  STD_TORCH_CHECK(images.numel() > 0, "images is empty");
  const ConvShape s = conv_shape({images.size(0), images.size(1), images.size(2), images.size(3)}, outputs, kernel_size,
                                 stride, padding, dilation, 1);
  const int64_t inputs = places(s.channels, s.kernel_height, s.kernel_width);
  const int64_t padded = places(s.channels + 1, s.height + 2 * s.padding[0], s.width + 2 * s.padding[1]);
  constexpr int64_t most = int64_t{1} << 40;
  STD_TORCH_CHECK(inputs <= most && padded <= most, "a padded image of ", padded, " numbers is too large");
  return s;
}

constexpr const char* schema_stem_moments =
    "(Tensor images, Tensor origin, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation) -> Tensor";
template <auto kernel>
Tensor stem_moments(Tensor images_, Tensor origin_, Sizes kernel_size, Sizes stride, Sizes padding, Sizes dilation) {
  const Tensor images = input<float>("images", images_);
  const ConvShape s = stem_shape(images, 1, kernel_size, stride, padding, dilation);
  const Tensor origin = channel_vector("origin", origin_, s.channels);
  const int64_t inputs = s.channels * s.kernel_height * s.kernel_width + 1;
  Tensor moments = new_tensor(images, {inputs, inputs}, ScalarType::Double);
  kernel({s, data_of<float>(images), data_of<float>(origin), result_of<double>(moments)}, threads);
  return moments;
}

constexpr const char* schema_stem_products =
    "(Tensor images, Tensor origin, Tensor g, Tensor index, int[2] kernel_size, int[2] stride, int[2] padding,"
    " int[2] dilation) -> Tensor";
template <auto kernel>
Tensor stem_products(Tensor images_, Tensor origin_, Tensor g_, Tensor index_, Sizes kernel_size, Sizes stride, Sizes padding,
                     Sizes dilation) {
  const Tensor images = input<float>("images", images_), g = input<float>("g", g_);
  const Tensor index = input<int64_t>("index", index_);
  check_dim("g", g, 4);
  const ConvShape s = stem_shape(images, g.size(3), kernel_size, stride, padding, dilation);
  const Tensor origin = channel_vector("origin", origin_, s.channels);
  check_rising_index("index", index, s.samples);
  check_size("g", g, 0, s.out_height);
  check_size("g", g, 1, s.out_width);
  check_size("g", g, 2, index.size(0));
  const int64_t inputs = s.channels * s.kernel_height * s.kernel_width + 1;
  Tensor products = new_tensor(images, {s.outputs, inputs}, ScalarType::Double);
  kernel({s, data_of<float>(images), data_of<float>(origin), data_of<float>(g), data_of<int64_t>(index), index.size(0),
          result_of<double>(products)},
         threads);
  return products;
}

constexpr const char* schema_stem_enter =
    "(Tensor images, Tensor weight, Tensor? bias, Tensor a, Tensor b, Tensor(a!) sign, Tensor(b!) window, Tensor(c!)? h,"
    " int[2] stride, int[2] padding, int[2] dilation) -> ()";
template <auto kernel>
void stem_enter(Tensor images_, Tensor weight_, std::optional<Tensor> bias_, Tensor a_, Tensor b_, Tensor sign, Tensor window,
                std::optional<Tensor> h, Sizes stride, Sizes padding, Sizes dilation) {
  const Tensor images = input<float>("images", images_), weight = input<float>("weight", weight_);
  check_dim("weight", weight, 4);
  const int64_t outputs = weight.size(0);
  STD_TORCH_CHECK(outputs > 0, "weight is empty");
  const ConvShape s = stem_shape(images, outputs, {weight.size(2), weight.size(3)}, stride, padding, dilation);
  check_size("weight", weight, 1, s.channels);
  const Tensor a = channel_vector("a", a_, outputs), b = channel_vector("b", b_, outputs);
  std::optional<Tensor> bias;
  if (bias_) bias = channel_vector("bias", *bias_, outputs);
  const auto check_result = [&](const char* name, const Tensor& result, int64_t last) {
    check_dim(name, result, 4);
    check_size(name, result, 0, s.out_height);
    check_size(name, result, 1, s.out_width);
    check_size(name, result, 2, s.samples);
    check_size(name, result, 3, last);
  };
  check_in_place<int64_t>("sign", sign);
  check_in_place<int64_t>("window", window);
  check_result("sign", sign, words_for(outputs));
  check_result("window", window, words_for(outputs));
  if (h) {
    check_in_place("h", *h);
    check_result("h", *h, outputs);
  }
  kernel({s, data_of<float>(images), data_of<float>(weight), bias ? data_of<float>(*bias) : nullptr, data_of<float>(a),
          data_of<float>(b), result_of<uint64_t>(sign), result_of<uint64_t>(window), h ? result_of<float>(*h) : nullptr},
         threads);
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
