// The rim of the operations of fused chains (fqt_core/ops/hwnc); see rim.h.
#pragma once

#include <optional>

#include "../cpu/hwnc_arguments.h"
#include "rim.h"

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

inline int64_t product(const Tensor& tensor, int64_t axes) {
  int64_t result = 1;
  for (int64_t i = 0; i < axes; ++i) result *= tensor.size(i);
  return result;
}

inline void check_same_size(const char* name, const Tensor& tensor, const char* other_name, const Tensor& other,
                            int64_t axes) {
  check_dim(name, tensor, axes);
  for (int64_t i = 0; i < axes; ++i) {
    STD_TORCH_CHECK(tensor.size(i) == other.size(i), name, " must have the size of ", other_name, " along dimension ", i,
                    ": ", other.size(i), ", got ", tensor.size(i));
  }
}

// Integers before normalisation, (height, width, samples, channels).
inline Tensor integers(const char* name, const Tensor& y_) {
  const Tensor y = input<int16_t>(name, y_);
  check_dim(name, y, 4);
  STD_TORCH_CHECK(y.numel() > 0, name, " is empty");
  return y;
}

inline Tensor channel_vector(const char* name, const Tensor& vector_, int64_t channels) {
  const Tensor vector = input<float>(name, vector_);
  check_vector(name, vector, channels);
  return vector;
}

constexpr const char* schema_hwnc_binary_conv2d =
    "(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation)"
    " -> (Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor> hwnc_binary_conv2d(Tensor x_, Tensor weight_, int64_t channels, Sizes stride,
                                                      Sizes padding, Sizes dilation) {
  const Tensor x = input<int64_t>("x", x_), weight = input<int64_t>("weight", weight_);
  check_words("x", x, 4, channels);
  check_words("weight", weight, 4, channels);
  const ConvShape s = conv_shape({x.size(2), channels, x.size(0), x.size(1)}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, 1);
  const int64_t terms = channels * s.kernel_height * s.kernel_width;
  STD_TORCH_CHECK(terms <= INT16_MAX, terms, " products of ±1 do not fit 16 bits; at most ", INT16_MAX, " do");
  Tensor y = new_tensor(x, {s.out_height, s.out_width, s.samples, s.outputs}, ScalarType::Short);
  Tensor sum = new_tensor(x, {s.outputs}, ScalarType::Long), square = new_tensor(x, {s.outputs}, ScalarType::Long);
  kernel({s, data_of<uint64_t>(x), data_of<uint64_t>(weight), result_of<int16_t>(y), result_of<int64_t>(sum),
          result_of<int64_t>(square)},
         threads);
  return {y, sum, square};
}

constexpr const char* schema_hwnc_max_pool2d = "(Tensor y, Tensor flip) -> (Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor> hwnc_max_pool2d(Tensor y_, Tensor flip_) {
  const Tensor y = integers("y", y_), flip = input<uint8_t>("flip", flip_);
  const int64_t height = y.size(0), width = y.size(1), samples = y.size(2), channels = y.size(3);
  STD_TORCH_CHECK(height >= 2 && width >= 2, "a window of 2x2 does not fit ", height, "x", width, " pixels");
  check_vector("flip", flip, channels);
  const Sizes sizes{height / 2, width / 2, samples, channels};
  Tensor pooled = new_tensor(y, sizes, ScalarType::Short), choice = new_tensor(y, sizes, ScalarType::Byte);
  Tensor sum = new_tensor(y, {channels}, ScalarType::Long), square = new_tensor(y, {channels}, ScalarType::Long);
  kernel({data_of<int16_t>(y), data_of<uint8_t>(flip), height, width, samples, channels, result_of<int16_t>(pooled),
          result_of<uint8_t>(choice), result_of<int64_t>(sum), result_of<int64_t>(square)},
         threads);
  return {pooled, choice, sum, square};
}

constexpr const char* schema_hwnc_affine_sign =
    "(Tensor y, Tensor a, Tensor b, Tensor(a!)? residual, bool keep) -> (Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor> hwnc_affine_sign(Tensor y_, Tensor a_, Tensor b_, std::optional<Tensor> residual,
                                                    bool keep) {
  const Tensor y = integers("y", y_);
  const int64_t channels = y.size(3);
  const Tensor a = channel_vector("a", a_, channels), b = channel_vector("b", b_, channels);
  if (residual) {
    check_in_place("residual", *residual);
    check_same_size("residual", *residual, "y", y, 4);
    keep = false;
  }
  const Sizes words{y.size(0), y.size(1), y.size(2), words_for(channels)};
  Tensor sign = new_tensor(y, words, ScalarType::Long), window = new_tensor(y, words, ScalarType::Long);
  const Sizes kept = keep ? Sizes{y.size(0), y.size(1), y.size(2), channels} : Sizes{0};
  Tensor h = new_tensor(y, kept, ScalarType::Float);
  float* place = residual ? result_of<float>(*residual) : keep ? result_of<float>(h) : nullptr;
  kernel({data_of<int16_t>(y), data_of<float>(a), data_of<float>(b), residual.has_value(), product(y, 3), channels,
          result_of<uint64_t>(sign), result_of<uint64_t>(window), place},
         threads);
  return {sign, window, h};
}

// A gradient of some samples, and the integers that it belongs to; holds the tensors alive.
struct GradientInput {
  Tensor g, y, index;

  GradientInput(const Tensor& g_, const Tensor& y_, const Tensor& index_)
      : g(input<float>("g", g_)), y(integers("y", y_)), index(input<int64_t>("index", index_)) {
    check_rising_index("index", index, y.size(2));
    check_dim("g", g, 4);
    check_size("g", g, 0, y.size(0));
    check_size("g", g, 1, y.size(1));
    check_size("g", g, 2, index.size(0));
    check_size("g", g, 3, y.size(3));
  }

  int64_t channels() const { return y.size(3); }

  HwncGradient get() const {
    return {data_of<float>(g), data_of<int16_t>(y), data_of<int64_t>(index), index.size(0), y.size(0), y.size(1),
            y.size(2),         y.size(3)};
  }
};

struct NormInput {
  GradientInput of;
  Tensor c, a0, a1;

  NormInput(const Tensor& g, const Tensor& y, const Tensor& index, const Tensor& c_, const Tensor& a0_,
            const Tensor& a1_)
      : of(g, y, index),
        c(channel_vector("c", c_, of.channels())),
        a0(channel_vector("a0", a0_, of.channels())),
        a1(channel_vector("a1", a1_, of.channels())) {}

  NormGradient get() const { return {of.get(), data_of<float>(c), data_of<float>(a0), data_of<float>(a1)}; }
};

constexpr const char* schema_hwnc_gradient_sums =
    "(Tensor g, Tensor y, Tensor index, Tensor center) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> hwnc_gradient_sums(Tensor g_, Tensor y_, Tensor index_, Tensor center_) {
  const GradientInput in(g_, y_, index_);
  const Tensor center = channel_vector("center", center_, in.channels());
  Tensor first = new_tensor(in.g, {in.channels()}, ScalarType::Double);
  Tensor second = new_tensor(in.g, {in.channels()}, ScalarType::Double);
  kernel({in.get(), data_of<float>(center), result_of<double>(first), result_of<double>(second)}, threads);
  return {first, second};
}

constexpr const char* schema_hwnc_gradient_range =
    "(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha, bool pooled)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> hwnc_gradient_range(Tensor g_, Tensor y_, Tensor index_, Tensor c_,
                                                                       Tensor a0_, Tensor a1_, Tensor alpha_,
                                                                       bool pooled) {
  const NormInput in(g_, y_, index_, c_, a0_, a1_);
  const int64_t samples = in.of.y.size(2), channels = in.of.channels();
  const Tensor alpha = channel_vector("alpha", alpha_, channels);
  const auto vector = [&](int64_t size) { return new_tensor(in.of.g, {size}, ScalarType::Float); };
  Tensor sample_lo = vector(samples), sample_hi = vector(samples);
  Tensor channel_lo = vector(channels), channel_hi = vector(channels), reach = new_tensor(in.of.g, {}, ScalarType::Float);
  kernel({in.get(), data_of<float>(alpha), pooled, result_of<float>(sample_lo), result_of<float>(sample_hi),
          result_of<float>(channel_lo), result_of<float>(channel_hi), result_of<float>(reach)},
         threads);
  return {sample_lo, sample_hi, channel_lo, channel_hi, reach};
}

constexpr const char* schema_hwnc_gradient_moments =
    "(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha, int zeros, Tensor sample_lo,"
    " Tensor sample_hi, Tensor lo, Tensor hi) -> (Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor> hwnc_gradient_moments(Tensor g_, Tensor y_, Tensor index_, Tensor c_,
                                                                 Tensor a0_, Tensor a1_, Tensor alpha_, int64_t zeros,
                                                                 Tensor sample_lo_, Tensor sample_hi_, Tensor lo_,
                                                                 Tensor hi_) {
  const NormInput in(g_, y_, index_, c_, a0_, a1_);
  const int64_t samples = in.of.y.size(2), channels = in.of.channels();
  check_bounded("zeros", zeros);
  const Tensor alpha = channel_vector("alpha", alpha_, channels);
  const Tensor sample_lo = channel_vector("sample_lo", sample_lo_, samples);
  const Tensor sample_hi = channel_vector("sample_hi", sample_hi_, samples);
  const Tensor lo = channel_vector("lo", lo_, channels), hi = channel_vector("hi", hi_, channels);
  const auto vector = [&](int64_t size) { return new_tensor(in.of.g, {size}, ScalarType::Long); };
  Tensor sample_first = vector(samples), sample_second = vector(samples);
  Tensor channel_first = vector(channels), channel_second = vector(channels);
  kernel({in.get(), data_of<float>(alpha), zeros, data_of<float>(sample_lo), data_of<float>(sample_hi),
          data_of<float>(lo), data_of<float>(hi), result_of<int64_t>(sample_first), result_of<int64_t>(sample_second),
          result_of<int64_t>(channel_first), result_of<int64_t>(channel_second)},
         threads);
  return {sample_first, sample_second, channel_first, channel_second};
}

// What both quantisers check and hand over, but for their codes.
struct QuantizeInput {
  NormInput in;
  std::optional<Tensor> choice;
  Tensor kept, lo, hi;
  HwncQuantizeArguments arguments;

  QuantizeInput(const NormInput& in_, const std::optional<Tensor>& choice_, const Sizes& size, int64_t groups,
                const Tensor& kept_, const Tensor& lo_, const Tensor& hi_, int64_t bits, const Key& key)
      : in(in_),
        kept(input<int64_t>("kept", kept_)),
        lo(channel_vector("lo", lo_, kept_.size(0))),
        hi(channel_vector("hi", hi_, kept_.size(0))),
        arguments{} {
    const Tensor& y = in.of.y;
    check_rising_index("kept", kept, groups);
    STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be 1 to 8, got ", bits);
    const int64_t factor = choice_.has_value() ? 2 : 1;
    check_pair("size", size);
    STD_TORCH_CHECK(y.size(0) == size[0] / factor && y.size(1) == size[1] / factor, "y has ", y.size(0), "x", y.size(1),
                    " pixels, which does not fit a product of ", size[0], "x", size[1]);
    if (choice_.has_value()) {
      choice = input<uint8_t>("choice", *choice_);
      check_same_size("choice", *choice, "y", y, 4);
    }
    const int64_t elements = size[0] * size[1] * y.size(2) * y.size(3);
    STD_TORCH_CHECK(groups * ((elements / groups + 3) / 4) <= int64_t{1} << 32,
                    "the gradient has more elements than one random sequence");
    arguments.gradient = in.get();
    arguments.choice = choice ? data_of<uint8_t>(*choice) : nullptr;
    arguments.out_height = size[0];
    arguments.out_width = size[1];
    arguments.kept = data_of<int64_t>(kept);
    arguments.kept_count = kept.size(0);
    arguments.lo = data_of<float>(lo);
    arguments.hi = data_of<float>(hi);
    arguments.levels = static_cast<int32_t>((1 << bits) - 1);
    arguments.key[0] = key.low;
    arguments.key[1] = key.high;
    arguments.step = key.step;
    arguments.layer = key.layer;
    arguments.purpose = key.purpose;
  }
};

constexpr const char* schema_hwnc_quantize_samples =
    "(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha, Tensor? choice, int[2] size,"
    " Tensor kept, Tensor lo, Tensor hi, int bits, int seed, int step, int layer, int purpose) -> Tensor";
template <auto kernel>
Tensor hwnc_quantize_samples(Tensor g_, Tensor y_, Tensor index_, Tensor c_, Tensor a0_, Tensor a1_, Tensor alpha_,
                             std::optional<Tensor> choice_, Sizes size, Tensor kept_, Tensor lo_, Tensor hi_,
                             int64_t bits, int64_t seed, int64_t step, int64_t layer, int64_t purpose) {
  const NormInput in(g_, y_, index_, c_, a0_, a1_);
  const Tensor alpha = channel_vector("alpha", alpha_, in.of.channels());
  QuantizeInput q(in, choice_, size, in.of.y.size(2), kept_, lo_, hi_, bits, Key(seed, step, layer, purpose));
  Tensor codes = new_tensor(in.of.g, {size[0], size[1], q.kept.size(0), in.of.channels()}, ScalarType::Byte);
  q.arguments.alpha = data_of<float>(alpha);
  q.arguments.codes = result_of<uint8_t>(codes);
  kernel(q.arguments, threads);
  return codes;
}

constexpr const char* schema_hwnc_quantize_channels =
    "(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor? choice, int[2] size, Tensor kept,"
    " Tensor lo, Tensor hi, int bits, int seed, int step, int layer, int purpose) -> Tensor";
template <auto kernel>
Tensor hwnc_quantize_channels(Tensor g_, Tensor y_, Tensor index_, Tensor c_, Tensor a0_, Tensor a1_,
                              std::optional<Tensor> choice_, Sizes size, Tensor kept_, Tensor lo_, Tensor hi_,
                              int64_t bits, int64_t seed, int64_t step, int64_t layer, int64_t purpose) {
  const NormInput in(g_, y_, index_, c_, a0_, a1_);
  QuantizeInput q(in, choice_, size, in.of.channels(), kept_, lo_, hi_, bits, Key(seed, step, layer, purpose));
  const int64_t samples = (in.of.y.size(2) + 3) / 4 * 4;
  Tensor codes = new_tensor(in.of.g, {size[0], size[1], q.kept.size(0), samples}, ScalarType::Byte);
  q.arguments.codes = result_of<uint8_t>(codes);
  kernel(q.arguments, threads);
  return codes;
}

constexpr const char* schema_hwnc_input_gradient =
    "(Tensor codes, Tensor weight, int channels, int[2] size, int[2] stride, int[2] padding, int[2] dilation,"
    " Tensor scale, Tensor offset, Tensor window, Tensor index) -> Tensor";
template <auto kernel>
Tensor hwnc_input_gradient(Tensor codes_, Tensor weight_, int64_t channels, Sizes size, Sizes stride, Sizes padding,
                           Sizes dilation, Tensor scale_, Tensor offset_, Tensor window_, Tensor index_) {
  const Tensor codes = input<uint8_t>("codes", codes_), weight = input<int64_t>("weight", weight_);
  const Tensor window = input<int64_t>("window", window_), index = input<int64_t>("index", index_);
  check_dim("codes", codes, 4);
  check_words("weight", weight, 4, channels);
  check_words("window", window, 4, channels);
  check_pair("size", size);
  check_size("window", window, 0, size[0]);
  check_size("window", window, 1, size[1]);
  check_rising_index("index", index, window.size(2));
  const int64_t kept = index.size(0);
  const ConvShape s = conv_shape({window.size(2), channels, size[0], size[1]}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, 1);
  check_size("codes", codes, 0, s.out_height);
  check_size("codes", codes, 1, s.out_width);
  check_size("codes", codes, 2, kept);
  check_size("codes", codes, 3, s.outputs);
  check_products(s.outputs * s.kernel_height * s.kernel_width);
  const Tensor scale = channel_vector("scale", scale_, kept), offset = channel_vector("offset", offset_, kept);
  Tensor result = new_tensor(scale, {s.height, s.width, kept, s.channels}, ScalarType::Float);
  kernel({s, data_of<uint8_t>(codes), data_of<uint64_t>(weight), data_of<float>(scale), data_of<float>(offset),
          data_of<uint64_t>(window), data_of<int64_t>(index), kept, result_of<float>(result), nullptr},
         threads);
  return result;
}

constexpr const char* schema_hwnc_weight_gradient =
    "(Tensor x, Tensor codes, int channels, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation,"
    " Tensor scale, Tensor offset) -> Tensor";
template <auto kernel>
Tensor hwnc_weight_gradient(Tensor x_, Tensor codes_, int64_t channels, Sizes kernel_size, Sizes stride, Sizes padding,
                            Sizes dilation, Tensor scale_, Tensor offset_) {
  const Tensor x = input<int64_t>("x", x_), codes = input<uint8_t>("codes", codes_);
  check_words("x", x, 4, channels);
  check_dim("codes", codes, 4);
  const int64_t kept = codes.size(2);
  const ConvShape s = conv_shape({x.size(2), channels, x.size(0), x.size(1)}, kept, kernel_size, stride, padding,
                                 dilation, 1);
  check_size("codes", codes, 0, s.out_height);
  check_size("codes", codes, 1, s.out_width);
  check_size("codes", codes, 3, (s.samples + 3) / 4 * 4);
  check_products(s.samples * s.out_height * s.out_width);
  const Tensor scale = channel_vector("scale", scale_, kept), offset = channel_vector("offset", offset_, kept);
  Tensor result = new_tensor(scale, {kept, s.kernel_height, s.kernel_width, channels}, ScalarType::Float);
  kernel({s, data_of<uint64_t>(x), data_of<uint8_t>(codes), kept, data_of<float>(scale), data_of<float>(offset),
          result_of<float>(result), nullptr},
         threads);
  return result;
}

constexpr const char* schema_hwnc_add_rows = "(Tensor(a!) target, Tensor rows, Tensor index) -> ()";
template <auto kernel>
void hwnc_add_rows(Tensor target, Tensor rows_, Tensor index_) {
  check_in_place("target", target);
  const Tensor rows = input<float>("rows", rows_), index = input<int64_t>("index", index_);
  check_dim("target", target, 4);
  check_rising_index("index", index, target.size(2));
  check_dim("rows", rows, 4);
  check_size("rows", rows, 0, target.size(0));
  check_size("rows", rows, 1, target.size(1));
  check_size("rows", rows, 2, index.size(0));
  check_size("rows", rows, 3, target.size(3));
  kernel({result_of<float>(target), data_of<float>(rows), data_of<int64_t>(index), target.size(0) * target.size(1),
          target.size(2), index.size(0), target.size(3)},
         threads);
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
