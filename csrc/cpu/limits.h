// What the fast kernels of products leave to the portable ones; the extension tells Python (module.cpp), for the conversion report.
#pragma once

#include <cstdint>

namespace fqt {

// With fewer channels in a group, of the input or of the output, most lanes of a vector would be idle.
constexpr int64_t least_group_channels = 32;

// The most products in a sum of the forward product, which is kept in 16 bits.
constexpr int64_t most_forward_terms = INT16_MAX;

}  // namespace fqt
