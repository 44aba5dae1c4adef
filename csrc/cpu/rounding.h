// Stochastic rounding of a run of elements. Every float32 operation is one of the reference's (fqt_core/ops/rounding.py), in
// the same order.
#pragma once

#include "gradient.h"
#include "philox.h"

namespace fqt {
namespace {

// Room for `count` uniform numbers from any element on: whole batches of blocks.
constexpr int64_t uniform_room(int64_t count) { return round_up(count + 3, 4 * philox_lanes); }

// Draws the numbers of elements first .. first + count - 1 of the group that starts with block `start`, into a buffer of
// uniform_room(count); returns where the first is.
inline const float* draw_uniform(const PhiloxKey& key, int64_t start, int64_t first, int64_t count, float* buffer) {
  const int64_t skip = first % 4;
  for (int64_t j = 0; j < skip + count; j += 4 * philox_lanes) {
    philox_uniform(key, static_cast<uint64_t>(start + (first - skip + j) / 4), buffer + j);
  }
  return buffer + skip;
}

// The code of one element.
inline int32_t quantize(float x, float u, float lo, float scale, float inverse, float levels) {
  float v = ((x - lo) * scale) * inverse;
  v = v > 0.0F ? v : 0.0F;
  v = v < levels ? v : levels;
  v = v + u;  // may round up to levels + 1
  v = v < levels ? v : levels;
  return static_cast<int32_t>(v);  // v is not negative, so cutting off is floor
}

inline void quantize_run(const float* __restrict x, const float* __restrict u, int64_t count, const Mapping& map,
                         float levels, uint8_t* __restrict codes) {
  const float lo = map.lo, scale = map.scale, inverse = map.inverse;
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(quantize(x[i], u[i], lo, scale, inverse, levels));
}

}  // namespace
}  // namespace fqt
