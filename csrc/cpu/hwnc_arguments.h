// What the kernels of fused chains take; the layout is H, W, N, C, and the arithmetic is specified in fqt_core/ops/hwnc.
#pragma once

#include "arguments.h"

namespace fqt {

// shape.groups is 1. x (height, width, samples, words), weight (outputs, kernel height, kernel width, words),
// y (out height, out width, samples, outputs); sum and square (outputs).
struct HwncConvArguments {
  ConvShape shape;
  const uint64_t* x;
  const uint64_t* weight;
  int16_t* y;
  int64_t* sum;
  int64_t* square;
};

struct HwncPoolArguments {
  const int16_t* y;
  const uint8_t* flip;
  int64_t height, width, samples, channels;
  int16_t* pooled;
  uint8_t* choice;
  int64_t* sum;
  int64_t* square;
};

// rows: height * width * samples. `h` may be null; with `add` it holds what is added to.
struct AffineSignArguments {
  const int16_t* y;
  const float* a;
  const float* b;
  bool add;
  int64_t rows, channels;
  uint64_t* sign;
  uint64_t* window;
  float* h;
};

// g (height, width, present, channels) of the samples `index`; y (height, width, samples, channels).
struct HwncGradient {
  const float* g;
  const int16_t* y;
  const int64_t* index;
  int64_t present, height, width, samples, channels;
};

// What batch normalisation adds: v = (c * g - a1 * y) - a0.
struct NormGradient {
  HwncGradient of;
  const float* c;
  const float* a0;
  const float* a1;
};

struct GradientSumsArguments {
  HwncGradient gradient;
  const float* center;
  double* first;
  double* second;
};

struct GradientRangeArguments {
  NormGradient gradient;
  const float* alpha;
  bool pooled;
  float* sample_lo;
  float* sample_hi;
  float* channel_lo;
  float* channel_hi;
  float* reach;
};

// Per channel. alpha, shift and origin may be null; without sums (both null) mean and variance are the running ones, which are
// changed only with sums. constants (4, channels).
struct NormalizationArguments {
  float* running_mean;
  float* running_var;
  const float* weight;
  const float* bias;
  const float* alpha;
  const float* shift;
  const float* origin;
  const double* first;
  const double* second;
  int64_t channels, rows;
  double momentum, eps;
  float* a;
  float* b;
  float* center;
  double* constants;
};

struct NormalizationGradientArguments {
  const double* total;
  const double* moment;
  const double* constants;
  int64_t channels, rows;
  bool batch;
  float* c;
  float* a0;
  float* a1;
  float* weight;
  float* bias;
  float* shift;
  bool* finite;
};

struct GradientMomentsArguments {
  NormGradient gradient;
  const float* alpha;
  int64_t zeros;  // pixels that pooling leaves empty
  const float* sample_lo;
  const float* sample_hi;
  const float* channel_lo;
  const float* channel_hi;
  int64_t* sample_first;
  int64_t* sample_second;
  int64_t* channel_first;
  int64_t* channel_second;
};

// alpha is null for channels, choice without pooling. codes: (out height, out width, kept, channels) for samples,
// (out height, out width, kept, samples rounded up to 4) for channels.
struct HwncQuantizeArguments {
  NormGradient gradient;
  const float* alpha;
  const uint8_t* choice;
  int64_t out_height, out_width;
  const int64_t* kept;
  int64_t kept_count;
  const float* lo;
  const float* hi;
  int32_t levels;
  uint32_t key[2];
  uint32_t step, layer, purpose;
  uint8_t* codes;
};

// codes (out height, out width, kept, outputs); window (height, width, samples, words); result (height, width, kept, channels).
// If `integers` is not null, it takes the sums of codes as they are, laid out like the result, and there is no scale, offset,
// window, index or result (all null): the operations outside of chains want these (cpu/vector).
struct HwncInputGradientArguments {
  ConvShape shape;
  const uint8_t* codes;
  const uint64_t* weight;
  const float* scale;
  const float* offset;
  const uint64_t* window;
  const int64_t* index;
  int64_t kept;
  float* result;
  int32_t* integers;
};

// codes (out height, out width, kept, samples rounded up to 4); result (kept, kernel height, kernel width, channels).
// `integers` as above; there is no scale, offset or result then.
struct HwncWeightGradientArguments {
  ConvShape shape;
  const uint64_t* x;
  const uint8_t* codes;
  int64_t kept;
  const float* scale;
  const float* offset;
  float* result;
  int32_t* integers;
};

// x (rows, channels); the first row is the origin.
struct EntryMomentsArguments {
  const float* x;
  int64_t rows, channels;
  double* first;
  double* second;
};

// x (samples, pixels, channels); sign, window and h (pixels, room, …), where x takes the samples from `first` on. `h` may be null.
struct EnterArguments {
  const float* x;
  const float* a;
  const float* b;
  int64_t samples, pixels, channels, first, room;
  uint64_t* sign;
  uint64_t* window;
  float* h;
};

// g (pixels, present, channels) of the samples `index`; x (samples, pixels, channels).
struct EntryGradient {
  const float* g;
  const int64_t* index;
  int64_t present;
  const float* x;
  int64_t samples, pixels, channels;
};

struct EntrySumsArguments {
  EntryGradient entry;
  const float* center;
  double* first;
  double* second;
};

struct LeaveArguments {
  EntryGradient entry;
  const float* c;
  const float* a0;
  const float* a1;
  float* result;
};

struct AddRowsArguments {
  float* target;
  const float* rows;
  const int64_t* index;
  int64_t pixels, samples, kept, channels;
};

}  // namespace fqt
