// Stochastic rounding of gathered groups.
#include "../kernels.h"
#include "../rounding.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 1024;  // elements per piece

}  // namespace

namespace FQT_ISA {

void quantize_groups(const QuantizeArguments& a, const Threads& threads) {
  const int64_t size = group_size(a.g), pieces = ceil_div(size, chunk), blocks = ceil_div(size, 4);
  const PhiloxKey key(a.key, a.step, a.layer, a.purpose);
  const float levels = static_cast<float>(a.levels);
  parallel(threads, a.kept * pieces, 2 * smaller(chunk, size), [&](int64_t begin, int64_t end) {
    float x[chunk], buffer[uniform_room(chunk)];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, first = i % pieces * chunk;
      const int64_t count = smaller(chunk, size - first), group = a.index[row];
      const float* u = draw_uniform(key, group * blocks, first, count, buffer);
      copy_elements(a.g, group, first, count, x);
      quantize_run(x, u, count, Mapping(a.lo[row], a.hi[row], levels), levels, a.codes + row * size + first);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
