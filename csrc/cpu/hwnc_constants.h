// Products of ones and signs, which the offset of codes is multiplied with, from the numbers of signs that are +1.
#pragma once

#include "hwnc_arguments.h"
#include "support.h"
#include "taps.h"

namespace fqt {
namespace {

// convT(1, Wb) for each kind of line and column, [kind of line][kind of column][channel]. ones [tap][channel] counts over output
// channels.
inline void input_constants(const ConvShape& s, const AxisTaps& lines, const AxisTaps& columns, const int32_t* ones,
                            int64_t channels, float* out) {
  const Buffer<int32_t> sums(channels);
  for (int64_t kind = 0; kind < lines.kinds() * columns.kinds(); ++kind) {
    const AxisTaps::Sources vertical = lines.of(lines.example(kind / columns.kinds()));
    const AxisTaps::Sources horizontal = columns.of(columns.example(kind % columns.kinds()));
    const auto terms = static_cast<int32_t>(vertical.size() * horizontal.size() * s.outputs);
    for (int64_t c = 0; c < channels; ++c) sums[c] = -terms;
    for (const AxisTaps::Source& v : vertical) {
      for (const AxisTaps::Source& h : horizontal) {
        const int32_t* of_tap = ones + (v.tap * s.kernel_width + h.tap) * channels;
        for (int64_t c = 0; c < channels; ++c) sums[c] += 2 * of_tap[c];
      }
    }
    for (int64_t c = 0; c < channels; ++c) out[kind * channels + c] = static_cast<float>(sums[c]);
  }
}

// corr(1, Xb) for one tap, [channel]. ones [pixel][channel] counts over samples.
inline void weight_constants(const ConvShape& s, int64_t tap, const int32_t* ones, int64_t channels, float* out) {
  const int64_t top = tap / s.kernel_width * s.dilation[0] - s.padding[0];
  const int64_t left = tap % s.kernel_width * s.dilation[1] - s.padding[1];
  const Interval lines = outputs_inside(top, s.stride[0], s.height, s.out_height);
  const Interval columns = outputs_inside(left, s.stride[1], s.width, s.out_width);
  const auto terms = static_cast<int32_t>((lines.end - lines.begin) * (columns.end - columns.begin) * s.samples);
  const Buffer<int32_t> sums(channels);
  for (int64_t c = 0; c < channels; ++c) sums[c] = -terms;
  for (int64_t oh = lines.begin; oh < lines.end; ++oh) {
    for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
      const int32_t* of_pixel = ones + ((oh * s.stride[0] + top) * s.width + ow * s.stride[1] + left) * channels;
      for (int64_t c = 0; c < channels; ++c) sums[c] += 2 * of_pixel[c];
    }
  }
  for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<float>(sums[c]);
}

}  // namespace
}  // namespace fqt
