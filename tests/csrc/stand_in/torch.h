// What csrc/torch needs of torch's stable ABI, so that the real rim and the real kernels can be compiled for processors that
// there is no torch for. Tensors are contiguous arrays in memory of their own, each of which ends where a page begins that nobody
// may touch: a kernel that reads or writes past the end of a tensor crashes.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace torch::headeronly {

enum class ScalarType : uint8_t { Byte, Short, Int, Long, Float, Double, Bool, Char };

inline int64_t size_of(ScalarType type) {
  constexpr int64_t sizes[] = {1, 2, 4, 8, 4, 8, 1, 1};
  return sizes[static_cast<int>(type)];
}

}  // namespace torch::headeronly

// A tensor as the C functions hand it over; the Tensor that is made of it takes it.
struct AtenTensorOpaque {
  std::vector<int64_t> sizes;
  torch::headeronly::ScalarType type;
};
using AtenTensorHandle = AtenTensorOpaque*;

namespace torch::stable {

using headeronly::ScalarType;

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

class Guarded {
 public:
  explicit Guarded(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    room_ = (bytes + page - 1) / page * page;
    begin_ = mmap(nullptr, room_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin_ == MAP_FAILED) throw std::bad_alloc();
    size_ = room_ + page;
    if (mprotect(static_cast<char*>(begin_) + room_, page, PROT_NONE) != 0) throw std::bad_alloc();
    data_ = static_cast<char*>(begin_) + room_ - bytes;
  }
  ~Guarded() { munmap(begin_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  void* data() const { return data_; }

 private:
  void* begin_;
  void* data_;
  size_t room_, size_;
};

class Tensor {
 public:
  Tensor() : Tensor({0}, ScalarType::Byte) {}
  Tensor(std::vector<int64_t> sizes, ScalarType type)
      : sizes_(std::move(sizes)), type_(type), memory_(std::make_shared<Guarded>(static_cast<size_t>(bytes()))) {}
  explicit Tensor(AtenTensorHandle made) : Tensor(std::move(made->sizes), made->type) { delete made; }
  static constexpr AtenTensorHandle get() { return nullptr; }
  static constexpr bool is_cpu() { return true; }
  static constexpr bool is_contiguous() { return true; }
  ScalarType scalar_type() const { return type_; }
  int64_t dim() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t size(int64_t axis) const { return sizes_.at(static_cast<size_t>(axis)); }
  const std::vector<int64_t>& sizes() const { return sizes_; }
  int64_t numel() const {
    int64_t count = 1;
    for (const int64_t size : sizes_) count *= size;
    return count;
  }
  int64_t bytes() const { return numel() * headeronly::size_of(type_); }
  const void* const_data_ptr() const { return memory_->data(); }
  void* mutable_data_ptr() const { return memory_->data(); }

 private:
  std::vector<int64_t> sizes_;
  ScalarType type_;
  std::shared_ptr<Guarded> memory_;
};

inline Tensor contiguous(const Tensor& tensor) { return tensor; }

// Copies, where torch's are views; a tensor that is not constant, as torch has it.
inline Tensor narrow(Tensor& tensor, int64_t axis, int64_t start, int64_t length) {
  std::vector<int64_t> sizes = tensor.sizes();
  sizes.at(static_cast<size_t>(axis)) = length;
  Tensor part(sizes, tensor.scalar_type());
  int64_t rows = 1, item = headeronly::size_of(tensor.scalar_type());  // before the axis, and the bytes of what is after it
  for (int64_t i = 0; i < axis; ++i) rows *= tensor.size(i);
  for (int64_t i = axis + 1; i < tensor.dim(); ++i) item *= tensor.size(i);
  const auto* from = static_cast<const char*>(tensor.const_data_ptr()) + start * item;
  auto* to = static_cast<char*>(part.mutable_data_ptr());
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(to + row * length * item, from + row * tensor.size(axis) * item, static_cast<size_t>(length * item));
  }
  return part;
}

inline Tensor view(const Tensor& tensor, const std::vector<int64_t>& sizes) {
  Tensor same(sizes, tensor.scalar_type());
  std::memcpy(same.mutable_data_ptr(), tensor.const_data_ptr(), static_cast<size_t>(same.bytes()));
  return same;
}

inline Tensor clone(const Tensor& tensor) { return view(tensor, tensor.sizes()); }

inline uint32_t get_num_threads() { return 3; }

namespace detail {

inline int32_t from(ScalarType type) { return static_cast<int32_t>(type); }
template <typename T>
T to(int32_t value) {
  return static_cast<T>(value);
}

}  // namespace detail

// Hands out a call's arguments, in order.
class Arguments {
 public:
  virtual ~Arguments() = default;
  virtual void take(Tensor& value) = 0;
  virtual void take(std::optional<Tensor>& value) = 0;
  virtual void take(int64_t& value) = 0;
  virtual void take(double& value) = 0;
  virtual void take(std::optional<double>& value) = 0;
  virtual void take(bool& value) = 0;
  virtual void take(std::string& value) = 0;
  virtual void take(std::vector<int64_t>& value) = 0;
  virtual void take(std::vector<Tensor>& value) = 0;
  virtual void take(std::vector<std::optional<Tensor>>& value) = 0;
  virtual void take(std::vector<double>& value) = 0;
  virtual void take(std::vector<bool>& value) = 0;
};

template <typename T>
T taken(Arguments& arguments) {
  T value{};
  arguments.take(value);
  return value;
}

using Results = std::vector<Tensor>;
using Kernel = std::function<Results(Arguments&)>;

inline void add_to(Results& results, const Tensor& tensor) { results.push_back(tensor); }
inline void add_to(Results& results, const Results& tensors) { results.insert(results.end(), tensors.begin(), tensors.end()); }

template <typename Result, typename... Types>
Kernel boxed(Result (*function)(Types...)) {
  return [function](Arguments& arguments) {
    std::tuple<Types...> values{taken<Types>(arguments)...};  // braces: in order
    if constexpr (std::is_void_v<Result>) {
      std::apply(function, std::move(values));
      return Results{};
    } else if constexpr (std::is_same_v<Result, Tensor>) {
      return Results{std::apply(function, std::move(values))};
    } else {
      Results results;
      const auto add = [&](const auto&... all) { (add_to(results, all), ...); };
      std::apply(add, std::apply(function, std::move(values)));
      return results;
    }
  };
}

class Library {
 public:
  static std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
  }
  static void def(const char*) {}
  static void impl(const char* name, Kernel kernel) { kernels()[name] = std::move(kernel); }
};

namespace detail {

// Nothing is called by the name of an operation alone.
class StableLibrary {
 public:
  enum class Kind { IMPL };
  StableLibrary(Kind, const char*, const char*, const char*, uint32_t) {}
  void impl(const char*, const Kernel&) {}
};

}  // namespace detail

}  // namespace torch::stable

inline int32_t aoti_torch_get_device_type(AtenTensorHandle, int32_t* type) { return *type = 0; }
inline int32_t aoti_torch_get_device_index(AtenTensorHandle, int32_t* index) { return *index = 0; }
inline int32_t aoti_torch_empty_strided(int64_t dim, const int64_t* sizes, const int64_t*, int32_t type, int32_t, int32_t,
                                        AtenTensorHandle* made) {
  *made = new AtenTensorOpaque{{sizes, sizes + dim}, torch::stable::detail::to<torch::headeronly::ScalarType>(type)};
  return 0;
}

inline size_t aoti_torch_dtype_element_size(int32_t type) {
  return static_cast<size_t>(torch::headeronly::size_of(torch::stable::detail::to<torch::headeronly::ScalarType>(type)));
}
inline int32_t aoti_torch_layout_strided() { return 0; }
// For memory that a process keeps, which would take the guards away from tensors here.
inline int32_t torch_from_blob(void*, int64_t, const int64_t*, const int64_t*, int64_t, int32_t, int32_t, int32_t, AtenTensorHandle*,
                               int32_t, const uint8_t*, int64_t, void (*)(void*, void*), void*) {
  return 1;
}

#define STABLE_TORCH_ERROR_CODE_CHECK(call) \
  do {                                      \
    if ((call) != 0) torch::stable::refuse(#call " failed"); \
  } while (false)

#define STD_TORCH_CHECK(condition, ...) \
  do {                                  \
    if (!(condition)) torch::stable::refuse(__VA_ARGS__); \
  } while (false)

#define TORCH_BOX(function) torch::stable::boxed(function)

#define FQT_STAND_IN_LIBRARY(name, m)                                             \
  static void name(const torch::stable::Library& m);                              \
  static const bool name##_done = (name(torch::stable::Library{}), true);         \
  static void name([[maybe_unused]] const torch::stable::Library& m)
#define STABLE_TORCH_LIBRARY(space, m) FQT_STAND_IN_LIBRARY(space##_definitions, m)
#define STABLE_TORCH_LIBRARY_IMPL(space, key, m) FQT_STAND_IN_LIBRARY(space##_##key, m)
