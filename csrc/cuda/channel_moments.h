// Sums of the channels of 16-bit integers (rows, channels), and sums of their squares.
#pragma once

#include <cstdint>

#include "queue.h"

namespace fqt::cuda {

void channel_moments(const int16_t* y, int64_t rows, int64_t channels, int64_t* sum, int64_t* square, const Queue& queue);

}  // namespace fqt::cuda
