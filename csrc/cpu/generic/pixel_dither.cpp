// Rounding to the nearest code after a dither was added. Every float32 operation is one of the reference's
// (fqt_core/ops/pixel/rows.py), in the same order.
#include "../gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 1024;
constexpr float magic = 12582912.0F;  // 1.5 * 2**23: adding and subtracting it rounds to the nearest integer, ties to even

void dither_run(const float* __restrict x, const float* __restrict u, int64_t count, const Mapping& map, float levels,
                uint8_t* __restrict codes) {
  const float lo = map.lo, scale = map.scale, inverse = map.inverse, top = levels + 1.0F;
  for (int64_t i = 0; i < count; ++i) {
    float v = ((x[i] - lo) * scale) * inverse;
    v = v > -1.0F ? v : -1.0F;
    v = v < top ? v : top;
    v = ((v + u[i]) + magic) - magic;
    v = v > 0.0F ? v : 0.0F;
    v = v < levels ? v : levels;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(v));
  }
}

}  // namespace

namespace FQT_ISA {

void quantize_dithered(const DitherArguments& a, const Threads& threads) {
  const int64_t pieces = ceil_div(a.size, chunk);
  const float levels = static_cast<float>(a.levels);
  parallel(threads, a.groups * pieces, smaller(chunk, a.size), [&](int64_t begin, int64_t end) {
    float u[chunk];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / pieces, first = i % pieces * chunk, count = smaller(chunk, a.size - first);
      const float* offset = a.offset + group * a.offsets;
      for (int64_t j = 0; j < count; ++j) u[j] = a.sign[first + j] * offset[a.level[first + j]];
      const int64_t at = group * a.size + first;
      dither_run(a.values + at, u, count, Mapping(a.lo[group], a.hi[group], levels), levels, a.codes + at);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
