#pragma once

#include "geometry.h"

namespace fqt::cuda {

// Columns of b: the weights of an input channel, tap by tap, 32 output channels to a word.
struct WeightColumns {
  Geometry g;
  PackedChannels weight;

  WeightColumns(const Geometry& g_, const uint64_t* words_)
      : g(g_), weight(words_, static_cast<int64_t>(g.outputs) * g.taps(), g.group_channels(), 1) {}

  FQT_HOST_DEVICE int words() const { return (g.group_outputs() + half_bits - 1) / half_bits; }
  FQT_DEVICE uint32_t word(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    const int64_t tap = k / words(), first = k % words() * half_bits;
    const auto half = static_cast<int>(column / half_bits), bit = static_cast<int>(column % half_bits);
    uint32_t bits = 0;
    for (int i = 0; i < half_bits && first + i < g.group_outputs(); ++i) {
      const int64_t d = group * g.group_outputs() + first + i;
      bits |= (weight.load(t, d * g.taps() + tap, 0, half) >> bit & 1) << i;
    }
    return bits;
  }
};

}  // namespace fqt::cuda
