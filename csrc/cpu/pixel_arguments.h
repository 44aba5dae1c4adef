// What the kernels of pixel rows take (fqt_core/ops/pixel): a gradient (samples, channels, pixels) seen as rows of channels, one
// for each sample and pixel, numbered sample by sample. All arrays are contiguous.
#pragma once

#include "arguments.h"

namespace fqt {

struct UniformArguments {
  const int64_t* groups;
  int64_t count, size;
  uint32_t key[2];
  uint32_t step, layer, purpose;
  float* numbers;  // (count, size)
};

struct SquareSumsArguments {
  const float* g;
  int64_t samples, channels, pixels;
  double* sums;  // (samples * pixels)
};

// rows: (kept, channels) if by_row, else (channels, kept).
struct GatherArguments {
  const float* g;
  int64_t samples, channels, pixels;
  const int64_t* index;
  const float* factor;
  int64_t kept;
  bool by_row;
  float* rows;
};

// values and codes (groups, size); sign and level (size); offset (groups, levels).
struct DitherArguments {
  const float* values;
  int64_t groups, size;
  const float* lo;
  const float* hi;
  const float* sign;
  const uint8_t* level;
  const float* offset;
  int64_t offsets;
  int32_t levels;
  uint8_t* codes;
};

// shape.samples is the number of all samples; codes (kept, outputs). scale, offset and dither (kept) may all be null; sign
// (outputs) is null with them.
struct PixelInputArguments {
  ConvShape shape;
  const uint8_t* codes;
  int64_t bits;
  const int64_t* index;
  int64_t kept;
  const float* scale;
  const float* offset;
  const float* dither;
  const float* sign;
  const uint64_t* weight;
  float* result;  // (samples, height, width, channels)
};

// codes (rows, kept), row r for the output channel output[r]; index (kept): which pixel rows these are.
struct PixelWeightArguments {
  ConvShape shape;
  const uint64_t* x;
  const uint8_t* codes;
  int64_t rows, kept, bits;
  const int64_t* index;
  const int64_t* output;
  int32_t* result;  // (rows, channels of a group, taps)
};

}  // namespace fqt
