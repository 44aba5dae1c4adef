// What the kernels of the full-precision convolution before a chain take; the arithmetic is specified in fqt_core/ops/stem.py.
#pragma once

#include "arguments.h"

namespace fqt {

// shape.groups is 1; images (samples, channels, height, width), origin (channels). With P = channels * kernel height *
// kernel width: moments (P + 1, P + 1).
struct StemMomentsArguments {
  ConvShape shape;
  const float* images;
  const float* origin;
  double* moments;
};

// g (out height, out width, present, outputs) of the samples `index`; products (outputs, P + 1).
struct StemProductsArguments {
  ConvShape shape;
  const float* images;
  const float* origin;
  const float* g;
  const int64_t* index;
  int64_t present;
  double* products;
};

// weight (outputs, P), bias (outputs) or null; sign, window and h (out height, out width, samples, …). `h` may be null.
struct StemEnterArguments {
  ConvShape shape;
  const float* images;
  const float* weight;
  const float* bias;
  const float* a;
  const float* b;
  uint64_t* sign;
  uint64_t* window;
  float* h;
};

}  // namespace fqt
