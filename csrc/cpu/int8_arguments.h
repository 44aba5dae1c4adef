// What the products of bytes take (fqt_core/ops/int8.py). All arrays are contiguous; shape.groups is 1.
#pragma once

#include "arguments.h"

namespace fqt {

// x (samples, height, width, channels), weight (outputs, kh, kw, channels), y (samples, out_height, out_width, outputs). A tap
// outside of the image reads `fill`.
struct Int8ForwardArguments {
  ConvShape shape;
  const int8_t* x;
  const int8_t* weight;
  int8_t fill;
  int32_t* y;
};

// codes (samples, out_height, out_width, outputs), result (samples, height, width, channels).
struct Int8InputArguments {
  ConvShape shape;
  const int8_t* codes;
  const int8_t* weight;
  int32_t* result;
};

// codes (outputs, samples, out_height, out_width), result (outputs, kh, kw, channels).
struct Int8WeightArguments {
  ConvShape shape;
  const int8_t* x;
  const int8_t* codes;
  int64_t* result;
};

}  // namespace fqt
