// What the fast kernels of products leave to the portable ones. The extension tells Python (module.cpp), which reports it.
#pragma once

#include <cstdint>

namespace fqt {

// Groups with fewer channels, of the input or of the output, go to the portable kernels. Cores take one group after the other.
// Vectors with idle lanes still pay: 32 groups of 4 channels, 14x14 pixels, 16 samples take 2.0, 3.6 and 1.6 ms (forward,
// dL/dX, dL/dW; AVX-512, Zen 4, one thread) instead of 8.5, 8.5 and 5.7. But hundreds of groups, as in depthwise convolutions,
// would be hundreds of calls, each with too little work for several threads.
constexpr int64_t least_group_channels = 4;

// The most products in a sum of the forward product, which is kept in 16 bits.
constexpr int64_t most_forward_terms = INT16_MAX;

}  // namespace fqt
