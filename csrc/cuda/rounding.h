// Stochastic rounding of one element: each float32 operation is one of the reference's (fqt_core/ops/rounding.py), in its order.
#pragma once

#include "../cpu/gradient.h"
#include "device.h"

namespace fqt::cuda {

FQT_HOST_DEVICE uint8_t round_up_or_down(float x, float u, const Mapping& map, float levels) {
  float v = ((x - map.lo) * map.scale) * map.inverse;
  v = v > 0.0F ? v : 0.0F;
  v = v < levels ? v : levels;
  v = v + u;  // may round up to levels + 1
  v = v < levels ? v : levels;
  return static_cast<uint8_t>(static_cast<int32_t>(v));  // v is not negative, so cutting off is floor
}

}  // namespace fqt::cuda
