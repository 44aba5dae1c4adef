// Scans over the groups of a gradient. Lanes are kept apart in small arrays, which compilers keep in vectors.
#include <limits>

#include "../gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 16;
constexpr int64_t chunk = 1024;

struct Range {
  float lo = std::numeric_limits<float>::infinity();
  float hi = -std::numeric_limits<float>::infinity();
  bool has_nan = false;

  void add(const float* x, int64_t count) {
    float low[lanes], high[lanes];
    uint32_t bad[lanes];
    for (int64_t l = 0; l < lanes; ++l) {
      low[l] = lo;
      high[l] = hi;
      bad[l] = 0;
    }
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      for (int64_t l = 0; l < lanes; ++l) {
        const float v = x[i + l];
        low[l] = v < low[l] ? v : low[l];
        high[l] = v > high[l] ? v : high[l];
        bad[l] |= v != v ? 1U : 0U;
      }
    }
    for (; i < count; ++i) {
      low[0] = x[i] < low[0] ? x[i] : low[0];
      high[0] = x[i] > high[0] ? x[i] : high[0];
      bad[0] |= x[i] != x[i] ? 1U : 0U;
    }
    for (int64_t l = 0; l < lanes; ++l) {
      lo = low[l] < lo ? low[l] : lo;
      hi = high[l] > hi ? high[l] : hi;
      has_nan |= bad[l] != 0;
    }
  }
};

// Calls use(elements, count) for pieces of a group, in any order of elements.
template <typename Use>
void for_each_piece(const Gradient& g, int64_t group, Use use) {
  if (g.dim == 0) {
    use(g.data + group * g.channels * g.pixels, g.channels * g.pixels);
    return;
  }
  if (g.pixels >= lanes) {
    for (int64_t n = 0; n < g.samples; ++n) use(g.data + (n * g.channels + group) * g.pixels, g.pixels);
    return;
  }
  float elements[chunk];
  for (int64_t first = 0; first < group_size(g); first += chunk) {
    const int64_t count = smaller(chunk, group_size(g) - first);
    copy_elements(g, group, first, count, elements);
    use(elements, count);
  }
}

struct Moments {
  uint64_t first = 0, second = 0;

  void add(const float* x, int64_t count, const Mapping& map) {
    // Adding and subtracting 1.5 * 2**23 rounds to the nearest integer, ties to even, as rint does for such numbers.
    constexpr float magic = 12582912.0F, top = 65535.0F;
    for (int64_t i = 0; i < count; ++i) {
      float v = ((x[i] - map.lo) * map.scale) * map.inverse;
      v = (v + magic) - magic;
      v = v < top ? v : top;
      v = v > 0.0F ? v : 0.0F;
      const uint32_t k = static_cast<uint32_t>(static_cast<int32_t>(v));
      first += k;
      second += static_cast<uint64_t>(k) * k;
    }
  }
};

}  // namespace

namespace FQT_ISA {

void group_range(const RangeArguments& a, const Threads& threads) {
  parallel(threads, group_count(a.g), group_size(a.g), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Range range;
      for_each_piece(a.g, i, [&](const float* x, int64_t count) { range.add(x, count); });
      constexpr float nan = std::numeric_limits<float>::quiet_NaN();
      a.lo[i] = range.has_nan ? nan : range.lo + 0.0F;  // -0 becomes +0
      a.hi[i] = range.has_nan ? nan : range.hi + 0.0F;
    }
  });
}

void group_moments(const MomentsArguments& a, const Threads& threads) {
  parallel(threads, group_count(a.g), group_size(a.g), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Mapping map(a.lo[i], a.hi[i], 65535.0F);
      Moments moments;
      for_each_piece(a.g, i, [&](const float* x, int64_t count) { moments.add(x, count, map); });
      a.first[i] = static_cast<int64_t>(moments.first);
      a.second[i] = static_cast<int64_t>(moments.second);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
