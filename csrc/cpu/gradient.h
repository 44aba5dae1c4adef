// Elements of a gradient's groups in the order in which they are counted, and the scale of a group's range.
#pragma once

#include "support.h"

namespace fqt {
namespace {

inline int64_t group_count(const Gradient& g) { return g.dim == 0 ? g.samples : g.channels; }

inline int64_t group_size(const Gradient& g) {
  return (g.dim == 0 ? g.channels : g.samples) * g.pixels;
}

// Copies elements [first, first + count) of a group: (pixel, channel) within a sample, (sample, pixel) within a channel.
inline void copy_elements(const Gradient& g, int64_t group, int64_t first, int64_t count, float* out) {
  if (g.dim == 0) {
    const float* sample = g.data + group * g.channels * g.pixels;
    int64_t p = first / g.channels, c = first % g.channels;
    for (int64_t i = 0; i < count;) {
      const int64_t run = smaller(g.channels - c, count - i);
      const float* in = sample + c * g.pixels + p;
      for (int64_t j = 0; j < run; ++j) out[i + j] = in[j * g.pixels];
      i += run;
      c = 0;
      ++p;
    }
    return;
  }
  int64_t n = first / g.pixels, p = first % g.pixels;
  for (int64_t i = 0; i < count;) {
    const int64_t run = smaller(g.pixels - p, count - i);
    std::memcpy(out + i, g.data + (n * g.channels + group) * g.pixels + p, sizeof(float) * static_cast<size_t>(run));
    i += run;
    p = 0;
    ++n;
  }
}

// How a range maps to [0, levels]: value = ((g - lo) * scale) * inverse. Each operation rounds to float32 by itself.
struct Mapping {
  float lo, scale, inverse;

  constexpr Mapping(float low, float high, float levels) : lo(low), scale(1.0F), inverse(0.0F) {
    const float extent = high - low;
    if (extent > 0.0F && extent < 0x1p-60F) scale = 0x1p64F;
    if (extent > 0x1p60F) scale = 0x1p-64F;
    if (high > low) inverse = levels / (extent * scale);
  }
};

}  // namespace
}  // namespace fqt
