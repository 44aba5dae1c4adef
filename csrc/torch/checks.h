// What the rim refuses before a kernel sees a pointer, and what it hands over.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <string>
#include <vector>

// The rim is compiled once for each kind of device, with names of its own.
#if defined(FQT_RIM_CUDA)
#include <torch/csrc/stable/accelerator.h>
#define FQT_RIM_DEVICE of_cuda
#else
#define FQT_RIM_DEVICE of_cpu
#endif

namespace fqt {
inline namespace FQT_RIM_DEVICE {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr ScalarType value = ScalarType::Float;
  static constexpr const char* name = "float32";
};
template <>
struct TypeOf<double> {
  static constexpr ScalarType value = ScalarType::Double;
  static constexpr const char* name = "float64";
};
template <>
struct TypeOf<int64_t> {
  static constexpr ScalarType value = ScalarType::Long;
  static constexpr const char* name = "int64";
};
template <>
struct TypeOf<int16_t> {
  static constexpr ScalarType value = ScalarType::Short;
  static constexpr const char* name = "int16";
};
template <>
struct TypeOf<int8_t> {
  static constexpr ScalarType value = ScalarType::Char;
  static constexpr const char* name = "int8";
};
template <>
struct TypeOf<uint8_t> {
  static constexpr ScalarType value = ScalarType::Byte;
  static constexpr const char* name = "uint8";
};

#if defined(FQT_RIM_CUDA)
constexpr const char* device_name = "the current GPU";
constexpr bool readable = false;  // whether this process can read what tensors hold
inline bool is_here(const Tensor& tensor) {
  return tensor.is_cuda() && tensor.get_device_index() == torch::stable::accelerator::getCurrentDeviceIndex();
}
#else
constexpr const char* device_name = "the CPU";
constexpr bool readable = true;
inline bool is_here(const Tensor& tensor) { return tensor.is_cpu(); }
#endif

// A tensor of the element type T on the rim's device, made contiguous if it is not.
template <typename T>
inline Tensor input(const char* name, const Tensor& tensor) {
  STD_TORCH_CHECK(is_here(tensor), name, " must be on ", device_name);
  STD_TORCH_CHECK(tensor.scalar_type() == TypeOf<T>::value, name, " must be ", TypeOf<T>::name);
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// A tensor of the element type T that a kernel changes.
template <typename T = float>
inline void check_in_place(const char* name, const Tensor& tensor) {
  STD_TORCH_CHECK(is_here(tensor) && tensor.scalar_type() == TypeOf<T>::value && tensor.is_contiguous(), name, " must be ",
                  TypeOf<T>::name, ", contiguous and on ", device_name);
}

inline void check_dim(const char* name, const Tensor& tensor, int64_t dim) {
  STD_TORCH_CHECK(tensor.dim() == dim, name, " must have ", dim, " dimensions, got ", tensor.dim());
}

inline void check_size(const char* name, const Tensor& tensor, int64_t axis, int64_t size) {
  STD_TORCH_CHECK(tensor.size(axis) == size, name, " must have size ", size, " along dimension ", axis, ", got ",
                  tensor.size(axis));
}

// A number that is not so great that arithmetic with it could leave 64 bits.
inline void check_bounded(const char* name, int64_t value) {
  constexpr int64_t most = int64_t{1} << 30;
  STD_TORCH_CHECK(value >= 0 && value <= most, name, " must be at least 0 and at most 2**30, got ", value);
}

// How many places there are, which for sizes that no tensor has could leave 64 bits.
inline int64_t places(int64_t samples, int64_t height, int64_t width) {
  int64_t rows = 0, count = 0;
  const bool overflows = __builtin_mul_overflow(samples, height, &rows) || __builtin_mul_overflow(rows, width, &count);
  STD_TORCH_CHECK(!overflows, samples, " samples of ", height, " x ", width, " are too many");
  return count;
}

// Two such numbers: torch takes lists of any length.
inline void check_pair(const char* name, const std::vector<int64_t>& values) {
  STD_TORCH_CHECK(values.size() == 2, name, " must be two numbers, got ", values.size());
  for (const int64_t value : values) check_bounded(name, value);
}

// A list's length, which another list decides.
inline void check_count(const char* name, size_t count, size_t expected) {
  STD_TORCH_CHECK(count == expected, name, " must have ", expected, " entries, got ", count);
}

inline int64_t words_for(int64_t channels) { return channels / 64 + (channels % 64 != 0 ? 1 : 0); }

inline void check_words(const char* name, const Tensor& words, int64_t dim, int64_t channels) {
  check_dim(name, words, dim);
  STD_TORCH_CHECK(channels >= 0 && words.size(dim - 1) == words_for(channels), name, " must have ",
                  words_for(channels), " words for ", channels, " channels, got ", words.size(dim - 1));
}

inline void check_vector(const char* name, const Tensor& tensor, int64_t size) {
  check_dim(name, tensor, 1);
  check_size(name, tensor, 0, size);
}

// Every entry is in [0, size). A GPU's are not looked at: that would mean to wait for it.
inline void check_index(const Tensor& index, int64_t size) {
  check_dim("index", index, 1);
  if (!readable) return;
  const auto* entries = static_cast<const int64_t*>(index.const_data_ptr());
  for (int64_t i = 0; i < index.size(0); ++i) {
    STD_TORCH_CHECK(entries[i] >= 0 && entries[i] < size, "index must be at least 0 and below ", size, ", got ",
                    entries[i]);
  }
}

// The same, and each entry is greater than the one before.
inline void check_rising_index(const char* name, const Tensor& index, int64_t size) {
  check_dim(name, index, 1);
  if (!readable) return;
  const auto* entries = static_cast<const int64_t*>(index.const_data_ptr());
  for (int64_t i = 0; i < index.size(0); ++i) {
    STD_TORCH_CHECK(entries[i] >= 0 && entries[i] < size && (i == 0 || entries[i] > entries[i - 1]), name,
                    " must rise, be at least 0 and below ", size);
  }
}

#if defined(FQT_RIM_CUDA) || defined(FQT_RIM_EMULATED)
constexpr bool leaves_out = true;  // whether kernels look for the entries that they want, so that others do no harm
#else
constexpr bool leaves_out = false;
#endif

// Each entry is at least 0 and greater than the one before. Returns how many the kernel is to be given: those below `size`, unless it
// leaves the others out itself.
inline int64_t count_rising(const char* name, const Tensor& index, int64_t size) {
  check_dim(name, index, 1);
  int64_t below = index.size(0);
  if (!readable) return below;
  const auto* entries = static_cast<const int64_t*>(index.const_data_ptr());
  for (int64_t i = 0; i < below; ++i) {
    STD_TORCH_CHECK(entries[i] >= 0 && (i == 0 || entries[i] > entries[i - 1]), name, " must rise and be at least 0");
  }
  while (!leaves_out && below > 0 && entries[below - 1] >= size) --below;
  return below;
}

// A sum of this many products of 8-bit codes with ±1 must fit 32 bits.
inline void check_products(int64_t terms) {
  STD_TORCH_CHECK(terms <= INT32_MAX / 255, terms,
                  " products of 8-bit codes do not fit 32-bit sums; use a smaller batch");
}

inline void check_key(const char* name, int64_t value, int bits) {
  STD_TORCH_CHECK(value >= 0 && (bits == 63 || value < int64_t{1} << bits), name, " must be at least 0 and below 2**",
                  bits, ", got ", value);
}

template <typename T>
inline const T* data_of(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
inline T* result_of(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace FQT_RIM_DEVICE
}  // namespace fqt
