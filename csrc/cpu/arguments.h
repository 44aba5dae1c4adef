// What the kernels take: raw pointers and sizes, no torch. All arrays are contiguous; layouts are those of the Python
// operations of the same names (fqt_core/ops), where the arithmetic is specified.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fqt {

// Runs body(context, begin, end) over [0, count), cut into ranges of at least `grain`, perhaps on several threads. Kernels
// cut their work along their outputs, so results do not depend on the number of threads. `worthwhile`: what a thread has to do
// for it to be woken, in numbers that a simple loop goes through.
struct Threads {
  using Body = void (*)(void* context, int64_t begin, int64_t end);
  void (*run)(int64_t count, int64_t grain, Body body, void* context);
  int64_t worthwhile;
};

// Scratch memory for kernels, zeros if `cleared`, aligned to 64 bytes; throws std::bad_alloc. Defined once, for the baseline
// instruction set.
void* allocate(size_t bytes, bool cleared);
void release(void* memory) noexcept;

// x (samples, channels, pixels) to words (samples, pixels, ceil(channels / 64)). `window` may be null.
struct PackArguments {
  const float* x;
  uint64_t* sign;
  uint64_t* window;
  int64_t samples, channels, pixels;
};

struct UnpackArguments {
  const uint64_t* words;
  float* signs;
  int64_t samples, channels, pixels;
};

struct WindowArguments {
  const float* gradient;
  const uint64_t* window;
  float* result;
  int64_t samples, channels, pixels;
};

struct ConvShape {
  int64_t samples, channels, height, width;
  int64_t outputs, kernel_height, kernel_width;
  int64_t stride[2], padding[2], dilation[2];
  int64_t groups, out_height, out_width;
};

struct ForwardArguments {
  ConvShape shape;
  const uint64_t* x;
  const uint64_t* weight;
  int32_t* y;
};

// shape.samples is the number of kept samples.
struct InputGradientArguments {
  ConvShape shape;
  const uint8_t* codes;
  const uint64_t* weight;
  int32_t* result;
};

struct WeightGradientArguments {
  ConvShape shape;
  const uint64_t* x;
  const uint8_t* codes;
  const int64_t* index;
  int64_t kept;
  int32_t* result;
};

// A gradient (samples, channels, pixels) with groups along samples (dim 0) or channels (dim 1).
struct Gradient {
  const float* data;
  int64_t samples, channels, pixels;
  int64_t dim;
};

struct RangeArguments {
  Gradient g;
  float* lo;
  float* hi;
};

struct MomentsArguments {
  Gradient g;
  const float* lo;
  const float* hi;
  int64_t* first;
  int64_t* second;
};

enum class Pruning { none, topk, bernoulli, bernoulli_dense, systematic };

// index and factor have room for all groups; *count says how many were kept.
struct SelectArguments {
  const float* lo;
  const float* hi;
  int64_t groups, kept;
  Pruning pruning;
  uint32_t key[2];
  uint32_t step, layer, purpose;
  int64_t* index;
  float* factor;
  int64_t* count;
};

struct KeptRangesArguments {
  const float* lo;
  const float* hi;
  int64_t groups;
  const int64_t* index;
  const float* factor;
  int64_t kept;
  int32_t levels;
  float* kept_lo;
  float* kept_hi;
  float* scale;
  float* offset;
};

struct QuantizeArguments {
  Gradient g;
  const int64_t* index;
  int64_t kept;
  const float* lo;
  const float* hi;
  int32_t levels;
  uint32_t key[2];
  uint32_t step, layer, purpose;
  uint8_t* codes;
};

}  // namespace fqt
