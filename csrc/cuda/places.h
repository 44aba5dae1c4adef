// Places of a gradient's elements within their group's range, for moments: round((g - lo) / (hi - lo) · 65535).
#pragma once

#include "../cpu/gradient.h"
#include "device.h"

namespace fqt::cuda {

constexpr float most_places = 65535.0F;

// `map` maps to [0, most_places].
FQT_HOST_DEVICE int64_t place_in_range(float value, const Mapping& map) {
  constexpr float magic = 12582912.0F;  // adding 1.5 * 2**23 and taking it off again rounds to integers
  float v = ((value - map.lo) * map.scale) * map.inverse;
  v = (v + magic) - magic;
  v = v < most_places ? v : most_places;
  v = v > 0.0F ? v : 0.0F;
  return static_cast<int64_t>(v);
}

}  // namespace fqt::cuda
