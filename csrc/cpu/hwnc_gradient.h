// Rows of a gradient that is present for some samples only, and what batch normalisation makes of them.
#pragma once

#include "hwnc_arguments.h"
#include "support.h"

namespace fqt {
namespace {

// Where the row of a sample starts; samples that are not present share a row of zeros.
class GradientRows {
 public:
  explicit GradientRows(const HwncGradient& gradient)
      : gradient_(gradient), zeros_(gradient.channels), place_(gradient.samples) {
    for (int64_t n = 0; n < gradient.samples; ++n) place_[n] = -1;
    for (int64_t j = 0; j < gradient.present; ++j) place_[gradient.index[j]] = j;
  }

  const float* g(int64_t pixel, int64_t sample) const {
    const int64_t place = place_[sample];
    if (place < 0) return zeros_.get();
    return gradient_.g + (pixel * gradient_.present + place) * gradient_.channels;
  }

  const int16_t* y(int64_t pixel, int64_t sample) const {
    return gradient_.y + (pixel * gradient_.samples + sample) * gradient_.channels;
  }

 private:
  HwncGradient gradient_;
  Buffer<float> zeros_;
  Buffer<int64_t> place_;
};

// v = (c * g - a1 * y) - a0 for channels first .. first + count - 1 of a row; g and y point to the row's start.
inline void normalize_run(const NormGradient& of, const float* g_row, const int16_t* y_row, int64_t first, int64_t count,
                          float* __restrict v) {
  const float* __restrict c = of.c + first;
  const float* __restrict a0 = of.a0 + first;
  const float* __restrict a1 = of.a1 + first;
  const float* __restrict g = g_row + first;
  const int16_t* __restrict y = y_row + first;
  for (int64_t d = 0; d < count; ++d) v[d] = (c[d] * g[d] - a1[d] * static_cast<float>(y[d])) - a0[d];
}

// What is at channels first .. first + count - 1 of v, or of alpha ⊙ v if `alpha` is not null, at one pixel of the product.
inline void product_run(const HwncQuantizeArguments& a, const GradientRows& rows, const float* alpha, int64_t pixel,
                        int64_t sample, int64_t first, int64_t count, float* __restrict v) {
  const HwncGradient& of = a.gradient.of;
  const int64_t line = pixel / a.out_width, column = pixel % a.out_width;
  const int64_t factor = a.choice == nullptr ? 1 : 2;
  if (line / factor >= of.height || column / factor >= of.width) {  // left out by pooling
    for (int64_t d = 0; d < count; ++d) v[d] = 0.0F;
    return;
  }
  const int64_t source = line / factor * of.width + column / factor;
  normalize_run(a.gradient, rows.g(source, sample), rows.y(source, sample), first, count, v);
  if (alpha != nullptr) {
    const float* __restrict scale = alpha + first;
    for (int64_t d = 0; d < count; ++d) v[d] = scale[d] * v[d];
  }
  if (a.choice == nullptr) return;
  const uint8_t* __restrict choice = a.choice + (source * of.samples + sample) * of.channels + first;
  const auto place = static_cast<uint8_t>(line % 2 * 2 + column % 2);
  for (int64_t d = 0; d < count; ++d) v[d] = choice[d] == place ? v[d] : 0.0F;
}

}  // namespace
}  // namespace fqt
