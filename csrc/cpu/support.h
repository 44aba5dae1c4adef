// What all kernels share. Everything here has internal linkage: a file compiled for a newer instruction set must not
// hand its copy of an inline function to the rest of the program.
#pragma once

#include <cstring>

#include "arguments.h"

namespace fqt {
namespace {

// A buffer's first contents. `any` is for what is written before it is read: one thread clears, while others wait.
enum class Contents { zeros, any };

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t count, Contents contents = Contents::zeros)
      : data_(static_cast<T*>(allocate(sizeof(T) * static_cast<size_t>(count), contents == Contents::zeros))),
        count_(count) {}
  ~Buffer() { release(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }
  int64_t count() const { return count_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  T* data_;
  int64_t count_;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

enum class Use { read, write };

// Asks for memory that is wanted soon; where it ends does not matter. The processor's own guesses end with each page.
template <Use use = Use::read, typename T>
inline void fetch(const T* data, int64_t count) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; i += line) __builtin_prefetch(data + i, use == Use::write ? 1 : 0);
}

// The same for what comes some time after `data`, where memory is gone through in order.
template <typename T>
inline void fetch_ahead(const T* data, int64_t count) {
  constexpr int64_t numbers = 2048;
  fetch(data + numbers, count);
}

// Runs function(begin, end) over [0, count), on several threads if there is enough to do: an item takes about as long as a
// simple loop over `numbers` numbers, a few operations each.
template <typename Function>
inline void parallel(const Threads& threads, int64_t count, int64_t numbers, Function function) {
  if (count <= 0) return;
  threads.run(
      count, ceil_div(threads.worthwhile, larger(1, numbers)),
      [](void* context, int64_t begin, int64_t end) { (*static_cast<Function*>(context))(begin, end); }, &function);
}

// Multiplications of a convolution of `samples` samples to `outputs` output channels.
inline int64_t products_of(const ConvShape& s, int64_t samples, int64_t outputs) {
  return samples * s.out_height * s.out_width * outputs * (s.channels / s.groups) * s.kernel_height * s.kernel_width;
}

// The same for items that share so many multiplications, `per_number` of which take as long as a number.
template <typename Function>
inline void parallel_products(const Threads& threads, int64_t count, int64_t products, int64_t per_number,
                              Function function) {
  parallel(threads, count, products / larger(1, count * per_number), function);
}

// Bits [first, first + count) of packed words, count <= 64, moved down to bit 0.
inline uint64_t extract_bits(const uint64_t* words, int64_t first, int64_t count) {
  const int64_t word = first / 64, shift = first % 64;
  uint64_t bits = words[word] >> shift;
  if (shift != 0 && shift + count > 64) bits |= words[word + 1] << (64 - shift);
  return count == 64 ? bits : bits & ((uint64_t{1} << count) - 1);
}

// Positions o of an output axis for which o * stride - padding + tap * dilation lies inside [0, size): [begin, end).
struct Interval {
  int64_t begin, end;
};

inline Interval outputs_inside(int64_t tap_offset, int64_t stride, int64_t size, int64_t out_size) {
  // tap_offset = tap * dilation - padding
  const int64_t begin = tap_offset >= 0 ? 0 : ceil_div(-tap_offset, stride);
  const int64_t last = size - 1 - tap_offset;
  const int64_t end = last < 0 ? 0 : smaller(out_size, last / stride + 1);
  return {smaller(begin, larger(end, 0)), larger(end, 0)};
}

}  // namespace
}  // namespace fqt
