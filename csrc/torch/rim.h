// Between torch and the kernels: one function per operation, which checks its arguments, allocates results and calls the
// kernel that it is instantiated with. Schemas are those of fqt_core/ops (a test compares them).
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <tuple>

#include "../cpu/arguments.h"
#include "../cpu/memory.h"
#include "../cpu/pool.h"
#include "checks.h"
#if defined(FQT_RIM_CUDA)
#include "../cuda/current.h"
#endif

namespace fqt::rim {
inline namespace FQT_RIM_DEVICE {

using Sizes = std::vector<int64_t>;
using Tensors = std::vector<Tensor>;

// Pair number `which` of numbers of which each owner has so many pairs.
inline Sizes pair_of(const Sizes& numbers, size_t owner, size_t pairs, size_t which) {
  const auto first = numbers.begin() + static_cast<int64_t>(2 * (pairs * owner + which));
  return Sizes(first, first + 2);
}

// Some 100 µs of a core: waking a thread that sleeps while it waits takes about as long, so that less is done sooner by one.
constexpr int64_t usually_worthwhile = int64_t{1} << 17;

// FQT_WORTHWHILE in the environment, if it is a number above 0.
inline int64_t worthwhile() {
  const char* text = std::getenv("FQT_WORTHWHILE");
  const int64_t value = text == nullptr ? 0 : std::strtoll(text, nullptr, 10);
  return value > 0 ? value : usually_worthwhile;
}

inline const Threads threads{
    [](int64_t count, int64_t grain, Threads::Body body, void* context) {
      constexpr int64_t smallest = 4;  // pieces of what is worth a thread that is to be woken; each is worth one that is not
      const int64_t least = std::max<int64_t>(grain / smallest, 1), pieces = (count + least - 1) / least;
      run_in_pool(std::min<int64_t>(torch::stable::get_num_threads(), pieces), count, least, grain, body, context);
    },
    worthwhile()};

// (N, C, *) as samples, channels and pixels.
struct Extent {
  int64_t samples, channels, pixels;

  explicit Extent(const char* name, const Tensor& x) {
    STD_TORCH_CHECK(x.dim() >= 2, name, " must have at least 2 dimensions, got ", x.dim());
    samples = x.size(0);
    channels = x.size(1);
    pixels = 1;
    for (int64_t i = 2; i < x.dim(); ++i) pixels *= x.size(i);
  }
};

// Memory that `release` gives back.
using Block = std::unique_ptr<void, void (*)(void*)>;

inline Block new_block(size_t bytes) {
  try {
    return Block(allocate(bytes, false), release);
  } catch (const std::bad_alloc&) {
    STD_TORCH_CHECK(false, "there is not enough memory for a result of ", bytes, " bytes");
  }
}

// A contiguous tensor on the device of another. torch::stable::new_empty looks its operator up by name for each tensor, which takes
// several times as long, and a step makes hundreds of small ones.
inline Tensor new_tensor(const Tensor& like, const Sizes& sizes, ScalarType type) {
  Sizes strides(sizes.size());
  int64_t count = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = count;
    STD_TORCH_CHECK(!__builtin_mul_overflow(count, std::max<int64_t>(sizes[i], 1), &count), "a result of such sizes is too large");
  }
  int32_t device_type = 0, device_index = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const auto dimensions = static_cast<int64_t>(sizes.size());
  const auto dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle made = nullptr;
#if !defined(FQT_RIM_CUDA)
  size_t bytes = 0;
  STD_TORCH_CHECK(!__builtin_mul_overflow(static_cast<size_t>(count), aoti_torch_dtype_element_size(dtype), &bytes),
                  "a result of such sizes is too large");
  if (memory_is_kept(bytes)) {
    Block memory = new_block(bytes);
    STABLE_TORCH_ERROR_CODE_CHECK(torch_from_blob(
        memory.get(), dimensions, sizes.data(), strides.data(), 0, dtype, device_type, device_index, &made, aoti_torch_layout_strided(),
        nullptr, 0, [](void* data, void*) { release(data); }, nullptr));
    memory.release();
    return Tensor(made);
  }
#endif
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(dimensions, sizes.data(), strides.data(), dtype, device_type, device_index, &made));
  return Tensor(made);
}

inline Sizes all_sizes(const Tensor& x) {
  Sizes sizes;
  for (int64_t i = 0; i < x.dim(); ++i) sizes.push_back(x.size(i));
  return sizes;
}

// (N, C, *) to (N, *, last).
inline Sizes channels_last(const Tensor& x, int64_t last) {
  Sizes sizes{x.size(0)};
  for (int64_t i = 2; i < x.dim(); ++i) sizes.push_back(x.size(i));
  sizes.push_back(last);
  return sizes;
}

constexpr const char* schema_pack_sign = "(Tensor x) -> Tensor";
template <auto kernel>
Tensor pack_sign(Tensor x_) {
  const Tensor x = input<float>("x", x_);
  const Extent e("x", x);
  Tensor sign = new_tensor(x, channels_last(x, words_for(e.channels)), ScalarType::Long);
  kernel({data_of<float>(x), result_of<uint64_t>(sign), nullptr, e.samples, e.channels, e.pixels}, threads);
  return sign;
}

constexpr const char* schema_pack_sign_window = "(Tensor x) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> pack_sign_window(Tensor x_) {
  const Tensor x = input<float>("x", x_);
  const Extent e("x", x);
  const Sizes sizes = channels_last(x, words_for(e.channels));
  Tensor sign = new_tensor(x, sizes, ScalarType::Long), window = new_tensor(x, sizes, ScalarType::Long);
  kernel({data_of<float>(x), result_of<uint64_t>(sign), result_of<uint64_t>(window), e.samples, e.channels, e.pixels},
         threads);
  return {sign, window};
}

constexpr const char* schema_unpack_sign = "(Tensor words, int channels) -> Tensor";
template <auto kernel>
Tensor unpack_sign(Tensor words_, int64_t channels) {
  const Tensor words = input<int64_t>("words", words_);
  STD_TORCH_CHECK(words.dim() >= 2, "words must have at least 2 dimensions, got ", words.dim());
  check_words("words", words, words.dim(), channels);
  Sizes sizes{words.size(0), channels};
  int64_t pixels = 1;
  for (int64_t i = 1; i + 1 < words.dim(); ++i) {
    sizes.push_back(words.size(i));
    pixels *= words.size(i);
  }
  Tensor signs = new_tensor(words, sizes, ScalarType::Float);
  kernel({data_of<uint64_t>(words), result_of<float>(signs), words.size(0), channels, pixels}, threads);
  return signs;
}

constexpr const char* schema_apply_window = "(Tensor gradient, Tensor window) -> Tensor";
template <auto kernel>
Tensor apply_window(Tensor gradient_, Tensor window_) {
  const Tensor gradient = input<float>("gradient", gradient_), window = input<int64_t>("window", window_);
  const Extent e("gradient", gradient);
  const Sizes expected = channels_last(gradient, words_for(e.channels));
  check_words("window", window, gradient.dim(), e.channels);
  for (size_t i = 0; i < expected.size(); ++i) check_size("window", window, static_cast<int64_t>(i), expected[i]);
  Tensor result = new_tensor(gradient, all_sizes(gradient), ScalarType::Float);
  kernel({data_of<float>(gradient), data_of<uint64_t>(window), result_of<float>(result), e.samples, e.channels, e.pixels},
         threads);
  return result;
}

// The geometry of a convolution of (samples, channels, height, width) with (outputs, kernel); refuses what none has.
inline ConvShape conv_shape(const Sizes& in, int64_t outputs, const Sizes& kernel, const Sizes& stride,
                            const Sizes& padding, const Sizes& dilation, int64_t groups) {
  check_pair("the input's size", {in[2], in[3]});
  check_pair("kernel", kernel);
  check_pair("stride", stride);
  check_pair("padding", padding);
  check_pair("dilation", dilation);
  ConvShape s{in[0], in[1], in[2], in[3], outputs, kernel[0], kernel[1], {}, {}, {}, groups, 0, 0};
  int64_t out[2];
  for (size_t i = 0; i < 2; ++i) {
    STD_TORCH_CHECK(stride[i] >= 1 && dilation[i] >= 1 && kernel[i] >= 1, "stride, dilation and kernel must be at least 1");
    s.stride[i] = stride[i];
    s.padding[i] = padding[i];
    s.dilation[i] = dilation[i];
    const int64_t room = in[i + 2] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1;
    STD_TORCH_CHECK(room >= 0, "the kernel does not fit an input of ", in[2], "x", in[3], " pixels");
    out[i] = room / stride[i] + 1;
  }
  STD_TORCH_CHECK(groups >= 1 && s.channels % groups == 0 && outputs % groups == 0, "groups=", groups,
                  " must divide the ", s.channels, " input and ", outputs, " output channels");
  s.out_height = out[0];
  s.out_width = out[1];
  return s;
}

constexpr const char* schema_binary_conv2d =
    "(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation, int groups) -> Tensor";
template <auto kernel>
Tensor binary_conv2d(Tensor x_, Tensor weight_, int64_t channels, Sizes stride, Sizes padding, Sizes dilation,
                     int64_t groups) {
  const Tensor x = input<int64_t>("x", x_), weight = input<int64_t>("weight", weight_);
  check_words("x", x, 4, channels);
  check_dim("weight", weight, 4);
  const ConvShape s = conv_shape({x.size(0), channels, x.size(1), x.size(2)}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, groups);
  check_words("weight", weight, 4, channels / groups);
  Tensor y = new_tensor(x, {s.samples, s.outputs, s.out_height, s.out_width}, ScalarType::Int);
  kernel({s, data_of<uint64_t>(x), data_of<uint64_t>(weight), result_of<int32_t>(y)}, threads);
  return y;
}

constexpr const char* schema_binary_linear = "(Tensor x, Tensor weight, int features) -> Tensor";
template <auto kernel>
Tensor binary_linear(Tensor x_, Tensor weight_, int64_t features) {
  const Tensor x = input<int64_t>("x", x_), weight = input<int64_t>("weight", weight_);
  check_words("x", x, 2, features);
  check_words("weight", weight, 2, features);
  const ConvShape s = conv_shape({x.size(0), features, 1, 1}, weight.size(0), {1, 1}, {1, 1}, {0, 0}, {1, 1}, 1);
  Tensor y = new_tensor(x, {s.samples, s.outputs}, ScalarType::Int);
  kernel({s, data_of<uint64_t>(x), data_of<uint64_t>(weight), result_of<int32_t>(y)}, threads);
  return y;
}

inline Gradient gradient_of(const Tensor& g, int64_t dim) {
  const Extent e("the gradient", g);
  STD_TORCH_CHECK(dim == 0 || dim == 1, "groups lie along dimension 0 or 1, got ", dim);
  STD_TORCH_CHECK(g.numel() > 0, "the gradient is empty");
  return {data_of<float>(g), e.samples, e.channels, e.pixels, dim};
}

constexpr const char* schema_group_range = "(Tensor g, int dim) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> group_range(Tensor g_, int64_t dim) {
  const Tensor g = input<float>("the gradient", g_);
  const Gradient gradient = gradient_of(g, dim);
  Tensor lo = new_tensor(g, {g.size(dim)}, ScalarType::Float), hi = new_tensor(g, {g.size(dim)}, ScalarType::Float);
  kernel({gradient, result_of<float>(lo), result_of<float>(hi)}, threads);
  return {lo, hi};
}

constexpr const char* schema_group_moments = "(Tensor g, int dim, Tensor lo, Tensor hi) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> group_moments(Tensor g_, int64_t dim, Tensor lo_, Tensor hi_) {
  const Tensor g = input<float>("the gradient", g_), lo = input<float>("lo", lo_), hi = input<float>("hi", hi_);
  const Gradient gradient = gradient_of(g, dim);
  check_vector("lo", lo, g.size(dim));
  check_vector("hi", hi, g.size(dim));
  Tensor first = new_tensor(g, {g.size(dim)}, ScalarType::Long), second = new_tensor(g, {g.size(dim)}, ScalarType::Long);
  kernel({gradient, data_of<float>(lo), data_of<float>(hi), result_of<int64_t>(first), result_of<int64_t>(second)},
         threads);
  return {first, second};
}

// Seed, step, layer and purpose as the words of a random key.
struct Key {
  uint32_t low, high, step, layer, purpose;

  Key(int64_t seed, int64_t step_, int64_t layer_, int64_t purpose_) {
    check_key("seed", seed, 63);
    check_key("step", step_, 32);
    check_key("layer", layer_, 32);
    check_key("purpose", purpose_, 32);
    low = static_cast<uint32_t>(seed);
    high = static_cast<uint32_t>(seed >> 32);
    step = static_cast<uint32_t>(step_);
    layer = static_cast<uint32_t>(layer_);
    purpose = static_cast<uint32_t>(purpose_);
  }
};

inline Pruning pruning_of(const std::string& name) {
  if (name == "none") return Pruning::none;
  if (name == "topk") return Pruning::topk;
  if (name == "bernoulli") return Pruning::bernoulli;
  if (name == "bernoulli_dense") return Pruning::bernoulli_dense;
  STD_TORCH_CHECK(name == "systematic", "pruning must be one of none, topk, bernoulli, bernoulli_dense, systematic, got '",
                  name, "'");
  return Pruning::systematic;
}

// The first numbers of a vector, in memory of their own.
template <typename T>
Tensor first_of(const Tensor& vector, int64_t count) {
#if defined(FQT_RIM_CUDA)
  Tensor whole = vector;  // `narrow` takes no constant
  return torch::stable::clone(torch::stable::narrow(whole, 0, 0, count));
#else
  Tensor result = new_tensor(vector, {count}, TypeOf<T>::value);
  std::copy_n(data_of<T>(vector), count, result_of<T>(result));
  return result;
#endif
}

#if defined(FQT_RIM_CUDA)

inline void* current_stream() {
  using namespace torch::stable::accelerator;
  return getCurrentStream(getCurrentDeviceIndex()).nativeHandle();
}

// A number that a kernel finds; reading it waits for the kernel.
class Found {
 public:
  explicit Found(const Tensor& like) : number_(new_tensor(like, {1}, ScalarType::Long)) {}
  int64_t* place() { return result_of<int64_t>(number_); }
  int64_t read() const { return cuda::fetch(data_of<int64_t>(number_), current_stream()); }

 private:
  Tensor number_;
};

#else

class Found {
 public:
  explicit Found(const Tensor& /*like*/) {}
  int64_t* place() { return &number_; }
  int64_t read() const { return number_; }

 private:
  int64_t number_ = 0;
};

#endif

constexpr const char* schema_select_groups =
    "(Tensor lo, Tensor hi, int kept, str pruning, int seed, int step, int layer, int purpose) -> (Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor> select_groups(Tensor lo_, Tensor hi_, int64_t kept, std::string pruning, int64_t seed,
                                         int64_t step, int64_t layer, int64_t purpose) {
  const Tensor lo = input<float>("lo", lo_), hi = input<float>("hi", hi_);
  check_dim("lo", lo, 1);
  const int64_t groups = lo.size(0);
  check_vector("hi", hi, groups);
  const Pruning how = pruning_of(pruning);
  STD_TORCH_CHECK(kept >= 1 && kept <= groups && groups <= 1 << 22, "kept must be 1 to ", groups,
                  " groups and those at most 2**22, got ", kept);
  const Key key(seed, step, layer, purpose);
  Tensor index = new_tensor(lo, {groups}, ScalarType::Long), factor = new_tensor(lo, {groups}, ScalarType::Float);
  Found found(lo);
  kernel({data_of<float>(lo), data_of<float>(hi), groups, kept, how, {key.low, key.high}, key.step, key.layer,
          key.purpose, result_of<int64_t>(index), result_of<float>(factor), found.place()},
         threads);
  // Only of Bernoulli's picks the number is not known before.
  const bool all = how == Pruning::none || how == Pruning::bernoulli_dense;
  const int64_t count = how == Pruning::bernoulli ? found.read() : all ? groups : kept;
  if (count == groups) return {index, factor};
  return {first_of<int64_t>(index, count), first_of<float>(factor, count)};
}

constexpr const char* schema_kept_ranges =
    "(Tensor lo, Tensor hi, Tensor index, Tensor factor, int bits) -> (Tensor, Tensor, Tensor, Tensor)";
template <auto kernel>
std::tuple<Tensor, Tensor, Tensor, Tensor> kept_ranges(Tensor lo_, Tensor hi_, Tensor index_, Tensor factor_,
                                                       int64_t bits) {
  const Tensor lo = input<float>("lo", lo_), hi = input<float>("hi", hi_), factor = input<float>("factor", factor_);
  const Tensor index = input<int64_t>("index", index_);
  check_dim("lo", lo, 1);
  check_vector("hi", hi, lo.size(0));
  check_index(index, lo.size(0));
  const int64_t kept = index.size(0);
  check_vector("factor", factor, kept);
  STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be 1 to 8, got ", bits);
  const auto vector = [&] { return new_tensor(lo, {kept}, ScalarType::Float); };
  Tensor kept_lo = vector(), kept_hi = vector(), scale = vector(), offset = vector();
  kernel({data_of<float>(lo), data_of<float>(hi), lo.size(0), data_of<int64_t>(index), data_of<float>(factor), kept,
          static_cast<int32_t>((1 << bits) - 1), result_of<float>(kept_lo), result_of<float>(kept_hi),
          result_of<float>(scale), result_of<float>(offset)},
         threads);
  return {kept_lo, kept_hi, scale, offset};
}

constexpr const char* schema_quantize_groups =
    "(Tensor g, int dim, Tensor index, Tensor lo, Tensor hi, int bits, int seed, int step, int layer, int purpose)"
    " -> Tensor";
template <auto kernel>
Tensor quantize_groups(Tensor g_, int64_t dim, Tensor index_, Tensor lo_, Tensor hi_, int64_t bits, int64_t seed,
                       int64_t step, int64_t layer, int64_t purpose) {
  const Tensor g = input<float>("the gradient", g_), index = input<int64_t>("index", index_);
  const Tensor lo = input<float>("lo", lo_), hi = input<float>("hi", hi_);
  const Gradient gradient = gradient_of(g, dim);
  STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be 1 to 8, got ", bits);
  check_index(index, g.size(dim));
  const int64_t kept = index.size(0), size = g.numel() / g.size(dim);
  check_vector("lo", lo, kept);
  check_vector("hi", hi, kept);
  const Key key(seed, step, layer, purpose);
  STD_TORCH_CHECK(g.size(dim) * ((size + 3) / 4) <= int64_t{1} << 32,
                  "the gradient has more elements than one random sequence");
  Sizes sizes{kept};
  if (dim == 1) sizes.push_back(g.size(0));
  for (int64_t i = 2; i < g.dim(); ++i) sizes.push_back(g.size(i));
  if (dim == 0) sizes.push_back(g.size(1));
  Tensor codes = new_tensor(g, sizes, ScalarType::Byte);
  kernel({gradient, data_of<int64_t>(index), kept, data_of<float>(lo), data_of<float>(hi),
          static_cast<int32_t>((1 << bits) - 1), {key.low, key.high}, key.step, key.layer, key.purpose,
          result_of<uint8_t>(codes)},
         threads);
  return codes;
}

constexpr const char* schema_conv2d_input_gradient =
    "(Tensor codes, Tensor weight, int channels, int[2] input_size, int[2] stride, int[2] padding, int[2] dilation,"
    " int groups) -> Tensor";
template <auto kernel>
Tensor conv2d_input_gradient(Tensor codes_, Tensor weight_, int64_t channels, Sizes input_size, Sizes stride,
                             Sizes padding, Sizes dilation, int64_t groups) {
  const Tensor codes = input<uint8_t>("codes", codes_), weight = input<int64_t>("weight", weight_);
  check_dim("codes", codes, 4);
  check_dim("weight", weight, 4);
  check_pair("input_size", input_size);
  const ConvShape s = conv_shape({codes.size(0), channels, input_size[0], input_size[1]}, weight.size(0),
                                 {weight.size(1), weight.size(2)}, stride, padding, dilation, groups);
  check_words("weight", weight, 4, channels / groups);
  check_size("codes", codes, 1, s.out_height);
  check_size("codes", codes, 2, s.out_width);
  check_size("codes", codes, 3, s.outputs);
  check_products(s.outputs / groups * s.kernel_height * s.kernel_width);
  Tensor result = new_tensor(codes, {s.samples, s.channels, s.height, s.width}, ScalarType::Int);
  kernel({s, data_of<uint8_t>(codes), data_of<uint64_t>(weight), result_of<int32_t>(result)}, threads);
  return result;
}

constexpr const char* schema_conv2d_weight_gradient =
    "(Tensor x, Tensor codes, Tensor index, int channels, int outputs, int[2] kernel_size, int[2] stride,"
    " int[2] padding, int[2] dilation, int groups) -> Tensor";
template <auto kernel>
Tensor conv2d_weight_gradient(Tensor x_, Tensor codes_, Tensor index_, int64_t channels, int64_t outputs,
                              Sizes kernel_size, Sizes stride, Sizes padding, Sizes dilation, int64_t groups) {
  const Tensor x = input<int64_t>("x", x_), codes = input<uint8_t>("codes", codes_);
  const Tensor index = input<int64_t>("index", index_);
  check_words("x", x, 4, channels);
  check_dim("codes", codes, 4);
  const ConvShape s = conv_shape({x.size(0), channels, x.size(1), x.size(2)}, outputs, kernel_size, stride, padding,
                                 dilation, groups);
  check_index(index, outputs);
  check_size("index", index, 0, codes.size(0));
  check_size("codes", codes, 1, s.samples);
  check_size("codes", codes, 2, s.out_height);
  check_size("codes", codes, 3, s.out_width);
  check_products(s.samples * s.out_height * s.out_width);
  Tensor result =
      new_tensor(codes, {codes.size(0), channels / groups, s.kernel_height, s.kernel_width}, ScalarType::Int);
  kernel({s, data_of<uint64_t>(x), data_of<uint8_t>(codes), data_of<int64_t>(index), codes.size(0),
          result_of<int32_t>(result)},
         threads);
  return result;
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt::rim
