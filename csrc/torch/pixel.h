// The rim of the operations on pixel rows (fqt_core/ops/pixel); see rim.h.
#pragma once

#include <optional>

#include "../cpu/pixel_arguments.h"
#include "rim.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

constexpr const char* schema_uniform_numbers =
    "(Tensor groups, int size, int seed, int step, int layer, int purpose) -> Tensor";
template <auto kernel>
Tensor uniform_numbers(Tensor groups_, int64_t size, int64_t seed, int64_t step, int64_t layer, int64_t purpose) {
  const Tensor groups = input<int64_t>("groups", groups_);
  STD_TORCH_CHECK(size >= 0 && size < int64_t{1} << 34, "size must be at least 0 and below 2**34, got ", size);
  check_index(groups, (int64_t{1} << 32) / (size > 4 ? (size + 3) / 4 : 1));
  const Key key(seed, step, layer, purpose);
  Tensor numbers = new_tensor(groups, {groups.size(0), size}, ScalarType::Float);
  kernel({data_of<int64_t>(groups), groups.size(0), size, {key.low, key.high}, key.step, key.layer, key.purpose,
          result_of<float>(numbers)},
         threads);
  return numbers;
}

constexpr const char* schema_pixel_square_sums = "(Tensor g) -> Tensor";
template <auto kernel>
Tensor pixel_square_sums(Tensor g_) {
  const Tensor g = input<float>("the gradient", g_);
  const Gradient of = gradient_of(g, 0);
  Tensor sums = new_tensor(g, {of.samples * of.pixels}, ScalarType::Double);
  kernel({of.data, of.samples, of.channels, of.pixels, result_of<double>(sums)}, threads);
  return sums;
}

constexpr const char* schema_pixel_gather = "(Tensor g, Tensor index, Tensor factor, bool by_row) -> Tensor";
template <auto kernel>
Tensor pixel_gather(Tensor g_, Tensor index_, Tensor factor_, bool by_row) {
  const Tensor g = input<float>("the gradient", g_), index = input<int64_t>("index", index_);
  const Tensor factor = input<float>("factor", factor_);
  const Gradient of = gradient_of(g, 0);
  check_index(index, of.samples * of.pixels);
  const int64_t kept = index.size(0);
  check_vector("factor", factor, kept);
  Tensor rows = new_tensor(g, by_row ? Sizes{kept, of.channels} : Sizes{of.channels, kept}, ScalarType::Float);
  kernel({of.data, of.samples, of.channels, of.pixels, data_of<int64_t>(index), data_of<float>(factor), kept, by_row,
          result_of<float>(rows)},
         threads);
  return rows;
}

inline int32_t levels_of(int64_t bits) {
  STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be 1 to 8, got ", bits);
  return static_cast<int32_t>((1 << bits) - 1);
}

constexpr const char* schema_quantize_dithered =
    "(Tensor values, Tensor lo, Tensor hi, Tensor sign, Tensor level, Tensor offset, int bits) -> Tensor";
template <auto kernel>
Tensor quantize_dithered(Tensor values_, Tensor lo_, Tensor hi_, Tensor sign_, Tensor level_, Tensor offset_,
                         int64_t bits) {
  const Tensor values = input<float>("values", values_), lo = input<float>("lo", lo_), hi = input<float>("hi", hi_);
  const Tensor sign = input<float>("sign", sign_), level = input<uint8_t>("level", level_);
  const Tensor offset = input<float>("offset", offset_);
  check_dim("values", values, 2);
  const int64_t groups = values.size(0), size = values.size(1);
  check_vector("lo", lo, groups);
  check_vector("hi", hi, groups);
  check_vector("sign", sign, size);
  check_vector("level", level, size);
  check_dim("offset", offset, 2);
  check_size("offset", offset, 0, groups);
  const int64_t offsets = offset.size(1);
  const auto* entries = data_of<uint8_t>(level);
  for (int64_t j = 0; readable && j < size; ++j) {
    STD_TORCH_CHECK(entries[j] < offsets, "level must be below ", offsets, ", got ", static_cast<int64_t>(entries[j]));
  }
  const int32_t levels = levels_of(bits);
  Tensor codes = new_tensor(values, {groups, size}, ScalarType::Byte);
  kernel({data_of<float>(values), groups, size, data_of<float>(lo), data_of<float>(hi), data_of<float>(sign), entries,
          data_of<float>(offset), offsets, levels, result_of<uint8_t>(codes)},
         threads);
  return codes;
}

// Integers up to this are exact in float32.
constexpr int64_t exact_float = 1 << 24;

constexpr const char* schema_pixel_input_gradient =
    "(Tensor codes, int bits, Tensor index, Tensor? scale, Tensor? offset, Tensor? dither, Tensor? sign, Tensor weight,"
    " int samples, int channels, int[2] input_size, int[2] stride, int[2] padding, int[2] dilation, int groups) -> Tensor";
template <auto kernel>
Tensor pixel_input_gradient(Tensor codes_, int64_t bits, Tensor index_, std::optional<Tensor> scale_,
                            std::optional<Tensor> offset_, std::optional<Tensor> dither_, std::optional<Tensor> sign_,
                            Tensor weight_, int64_t samples, int64_t channels, Sizes input_size, Sizes stride,
                            Sizes padding, Sizes dilation, int64_t groups) {
  const Tensor codes = input<uint8_t>("codes", codes_), weight = input<int64_t>("weight", weight_);
  const Tensor index = input<int64_t>("index", index_);
  check_dim("codes", codes, 2);
  check_dim("weight", weight, 4);
  check_pair("input_size", input_size);
  const ConvShape s = conv_shape({samples, channels, input_size[0], input_size[1]}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, groups);
  check_words("weight", weight, 4, channels / groups);
  check_size("codes", codes, 1, s.outputs);
  STD_TORCH_CHECK(samples >= 0, "samples must be at least 0, got ", samples);
  const int64_t kept = count_rising("index", index, places(samples, s.out_height, s.out_width));
  check_size("index", index, 0, codes.size(0));
  const int64_t most = levels_of(bits) * (s.outputs / groups);
  STD_TORCH_CHECK((scale_ ? most : most * s.kernel_height * s.kernel_width) <= exact_float,
                  "sums of ", s.outputs / groups, " products are too large for float32");
  STD_TORCH_CHECK(scale_.has_value() == offset_.has_value() && scale_.has_value() == dither_.has_value() &&
                      scale_.has_value() == sign_.has_value(),
                  "scale, offset, dither and sign are given together or not at all");
  std::vector<Tensor> own;  // holds what the pointers point to
  const auto pointer = [&](const char* name, const std::optional<Tensor>& tensor, int64_t size) -> const float* {
    if (!tensor) return nullptr;
    own.push_back(input<float>(name, *tensor));
    check_vector(name, own.back(), size);
    return data_of<float>(own.back());
  };
  const float* scale = pointer("scale", scale_, codes.size(0));
  const float* offset = pointer("offset", offset_, codes.size(0));
  const float* dither = pointer("dither", dither_, codes.size(0));
  const float* sign = pointer("sign", sign_, s.outputs);
  Tensor result = new_tensor(codes, {samples, s.height, s.width, s.channels}, ScalarType::Float);
  kernel({s, data_of<uint8_t>(codes), bits, data_of<int64_t>(index), kept, scale, offset, dither, sign,
          data_of<uint64_t>(weight), result_of<float>(result)},
         threads);
  return result;
}

constexpr const char* schema_pixel_weight_gradient =
    "(Tensor x, Tensor codes, int bits, Tensor index, Tensor output, int channels, int outputs, int[2] kernel_size,"
    " int[2] stride, int[2] padding, int[2] dilation, int groups) -> Tensor";
template <auto kernel>
Tensor pixel_weight_gradient(Tensor x_, Tensor codes_, int64_t bits, Tensor index_, Tensor output_, int64_t channels,
                             int64_t outputs, Sizes kernel_size, Sizes stride, Sizes padding, Sizes dilation,
                             int64_t groups) {
  const Tensor x = input<int64_t>("x", x_), index = input<int64_t>("index", index_);
  Tensor codes = input<uint8_t>("codes", codes_);
  const Tensor output = input<int64_t>("output", output_);
  check_words("x", x, 4, channels);
  check_dim("codes", codes, 2);
  const ConvShape s = conv_shape({x.size(0), channels, x.size(1), x.size(2)}, outputs, kernel_size, stride, padding,
                                 dilation, groups);
  const int64_t rows = codes.size(0), kept = count_rising("index", index, places(s.samples, s.out_height, s.out_width));
  check_size("index", index, 0, codes.size(1));
  if (kept < codes.size(1)) codes = torch::stable::contiguous(torch::stable::narrow(codes, 1, 0, kept));
  check_index(output, outputs);
  check_size("output", output, 0, rows);
  levels_of(bits);
  check_products(kept);
  Tensor result = new_tensor(codes, {rows, channels / groups, s.kernel_height, s.kernel_width}, ScalarType::Int);
  kernel({s, data_of<uint64_t>(x), data_of<uint8_t>(codes), rows, kept, bits, data_of<int64_t>(index),
          data_of<int64_t>(output), result_of<int32_t>(result)},
         threads);
  return result;
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
