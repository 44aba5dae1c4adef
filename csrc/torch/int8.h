// The rim of the products of bytes (fqt_core/ops/int8.py); see rim.h.
#pragma once

#include "../cpu/int8_arguments.h"
#include "rim.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

// A sum of so many products of bytes must fit 32 bits.
inline void check_byte_products(int64_t terms) {
  STD_TORCH_CHECK(terms <= INT32_MAX / (128 * 128), terms, " products of bytes do not fit 32-bit sums");
}

constexpr const char* schema_int8_conv2d =
    "(Tensor x, Tensor weight, int fill, int[2] stride, int[2] padding, int[2] dilation) -> Tensor";
template <auto kernel>
Tensor int8_conv2d(Tensor x_, Tensor weight_, int64_t fill, Sizes stride, Sizes padding, Sizes dilation) {
  const Tensor x = input<int8_t>("x", x_), weight = input<int8_t>("weight", weight_);
  check_dim("x", x, 4);
  check_dim("weight", weight, 4);
  STD_TORCH_CHECK(fill >= -128 && fill <= 127, "fill must be -128 to 127, got ", fill);
  check_size("weight", weight, 3, x.size(3));
  const ConvShape s = conv_shape({x.size(0), x.size(3), x.size(1), x.size(2)}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, 1);
  check_byte_products(s.kernel_height * s.kernel_width * s.channels);
  Tensor y = new_tensor(x, {s.samples, s.out_height, s.out_width, s.outputs}, ScalarType::Int);
  kernel({s, data_of<int8_t>(x), data_of<int8_t>(weight), static_cast<int8_t>(fill), result_of<int32_t>(y)}, threads);
  return y;
}

constexpr const char* schema_int8_input_gradient =
    "(Tensor codes, Tensor weight, int[2] input_size, int[2] stride, int[2] padding, int[2] dilation) -> Tensor";
template <auto kernel>
Tensor int8_input_gradient(Tensor codes_, Tensor weight_, Sizes input_size, Sizes stride, Sizes padding,
                           Sizes dilation) {
  const Tensor codes = input<int8_t>("codes", codes_), weight = input<int8_t>("weight", weight_);
  check_dim("codes", codes, 4);
  check_dim("weight", weight, 4);
  check_pair("input_size", input_size);
  const ConvShape s = conv_shape({codes.size(0), weight.size(3), input_size[0], input_size[1]}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, 1);
  check_size("codes", codes, 1, s.out_height);
  check_size("codes", codes, 2, s.out_width);
  check_size("codes", codes, 3, s.outputs);
  check_byte_products(s.outputs * s.kernel_height * s.kernel_width);
  Tensor result = new_tensor(codes, {s.samples, s.height, s.width, s.channels}, ScalarType::Int);
  kernel({s, data_of<int8_t>(codes), data_of<int8_t>(weight), result_of<int32_t>(result)}, threads);
  return result;
}

constexpr const char* schema_int8_weight_gradient =
    "(Tensor x, Tensor codes, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation) -> Tensor";
template <auto kernel>
Tensor int8_weight_gradient(Tensor x_, Tensor codes_, Sizes kernel_size, Sizes stride, Sizes padding, Sizes dilation) {
  const Tensor x = input<int8_t>("x", x_), codes = input<int8_t>("codes", codes_);
  check_dim("x", x, 4);
  check_dim("codes", codes, 4);
  const ConvShape s = conv_shape({x.size(0), x.size(3), x.size(1), x.size(2)}, codes.size(0), kernel_size, stride,
                                 padding, dilation, 1);
  check_size("codes", codes, 1, s.samples);
  check_size("codes", codes, 2, s.out_height);
  check_size("codes", codes, 3, s.out_width);
  Tensor result = new_tensor(x, {s.outputs, s.kernel_height, s.kernel_width, s.channels}, ScalarType::Long);
  kernel({s, data_of<int8_t>(x), data_of<int8_t>(codes), result_of<int64_t>(result)}, threads);
  return result;
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
