// What the kernels of the full-precision convolution before a chain take; the arithmetic is specified in
// fqt_core/ops/stem.py and stem_normalization.py.
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

// weight (outputs, channels, taps), bias (outputs) or null, origin (channels). With P = channels * taps: moments
// (P + 1, P + 1), augmented and cross_moments (outputs, P + 1). mean, and first and second, sums about it: (outputs).
struct StemNormalizationArguments {
  const float* weight;
  const float* bias;
  const float* origin;
  const double* moments;
  int64_t outputs, channels, taps, rows;
  double* augmented;
  double* cross_moments;
  float* mean;
  double* first;
  double* second;
};

// products as augmented and cross_moments, center (outputs), constants (4, outputs). The results are gradients: weight
// (outputs, channels, taps), all others (outputs); and whether all products are finite.
struct StemGradientArguments {
  const double* products;
  const double* augmented;
  const double* cross_moments;
  const double* moments;
  const float* center;
  const double* constants;
  const float* origin;
  int64_t outputs, channels, taps, rows;
  bool batch;
  float* weight;
  float* bias;
  float* gamma;
  float* beta;
  bool* finite;
};

}  // namespace fqt
