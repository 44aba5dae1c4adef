// What the optimiser's kernels take; the arithmetic is specified in fqt_core/ops/adam.py. Latents are rows
// (outputs, taps, channels).
#pragma once

#include "arguments.h"

namespace fqt {

struct MagnitudeArguments {
  const float* weight;
  int64_t outputs, taps, channels;
  float* mean;
};

// gradient (kept, taps, channels) of the outputs `index`; words (outputs, taps, ceil(channels / 64)); scale (outputs).
struct AdamArguments {
  float* weight;
  float* exp_avg;
  float* exp_avg_sq;
  const float* gradient;
  const int64_t* index;
  int64_t kept;
  int64_t outputs, taps, channels;
  float weight_decay, one_minus_beta1, beta2, one_minus_beta2, rate, epsilon;
  bool clamp;
  uint64_t* words;
  float* scale;
};

}  // namespace fqt
