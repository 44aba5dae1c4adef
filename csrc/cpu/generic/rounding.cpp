// Stochastic rounding of gathered groups. Every float32 operation is one of the reference's, in the same order; this file
// must be compiled without contraction to fused multiply-add.
#include "../gradient.h"
#include "../kernels.h"
#include "../philox.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 32 * 4 * philox_lanes;  // elements per piece

void quantize_piece(const float* x, const float* u, int64_t count, const Mapping& map, float levels, uint8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    float v = ((x[i] - map.lo) * map.scale) * map.inverse;
    v = v > 0.0F ? v : 0.0F;
    v = v < levels ? v : levels;
    v = v + u[i];  // may round up to levels + 1
    v = v < levels ? v : levels;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(v));  // v is not negative, so cutting off is floor
  }
}

}  // namespace

namespace FQT_ISA {

void quantize_groups(const QuantizeArguments& a, const Threads& threads) {
  const int64_t size = group_size(a.g), pieces = ceil_div(size, chunk), blocks = ceil_div(size, 4);
  const PhiloxKey key{{a.key[0], a.key[1]}, a.step, a.layer, a.purpose};
  const float levels = static_cast<float>(a.levels);
  parallel(threads, a.kept * pieces, 8, [&](int64_t begin, int64_t end) {
    float x[chunk], u[chunk];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, first = i % pieces * chunk;
      const int64_t count = smaller(chunk, size - first), group = a.index[row];
      const uint64_t block = static_cast<uint64_t>(group * blocks + first / 4);
      for (int64_t j = 0; j < count; j += 4 * philox_lanes) philox_uniform(key, block + static_cast<uint64_t>(j) / 4, u + j);
      copy_elements(a.g, group, first, count, x);
      quantize_piece(x, u, count, Mapping(a.lo[row], a.hi[row], levels), levels, a.codes + row * size + first);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
