// As many floats as a register holds, for sums that are to stay in registers, which compilers do not see in loops over arrays.
#pragma once

#include "support.h"

namespace fqt {
namespace {

#if defined(__AVX512F__)
constexpr int64_t float_lanes = 16;
constexpr int64_t sum_vectors = 4;  // of each row, with four rows: half of the registers
#else
#if defined(__AVX2__)
constexpr int64_t float_lanes = 8;
#else
constexpr int64_t float_lanes = 4;
#endif
constexpr int64_t sum_vectors = 2;
#endif
constexpr int64_t sum_rows = 4;
constexpr int64_t products_per_number = 2 * float_lanes;  // in the time that `parallel` counts in

using Floats = float __attribute__((vector_size(4 * float_lanes)));

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(const Floats& v, float* to) { std::memcpy(to, &v, sizeof v); }

// sum[r][v] += from[r][step[k]] * columns[k * stride + v * float_lanes + …] for k = 0 … steps - 1, one after the other.
template <int64_t rows, int64_t vectors>
inline void add_products(const float* const (&from)[rows], const int64_t* step, int64_t steps, const float* columns,
                         int64_t stride, Floats (&sum)[rows][vectors]) {
  for (int64_t k = 0; k < steps; ++k, columns += stride) {
    const int64_t at = step[k];
    Floats column[vectors];
    for (int64_t v = 0; v < vectors; ++v) column[v] = load(columns + v * float_lanes);
    for (int64_t r = 0; r < rows; ++r) {
      const float row = from[r][at];
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] += column[v] * row;
    }
  }
}

}  // namespace
}  // namespace fqt
