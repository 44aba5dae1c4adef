// Uniform numbers by themselves; layout of counters in fqt_core/random.py.
#include "../kernels.h"
#include "../rounding.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 1024;  // numbers per piece

}  // namespace

namespace FQT_ISA {

void uniform_numbers(const UniformArguments& a, const Threads& threads) {
  const int64_t pieces = ceil_div(a.size, chunk), blocks = ceil_div(a.size, 4);
  const PhiloxKey key(a.key, a.step, a.layer, a.purpose);
  parallel(threads, a.count * pieces, smaller(chunk, a.size), [&](int64_t begin, int64_t end) {
    float buffer[uniform_room(chunk)];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, first = i % pieces * chunk, count = smaller(chunk, a.size - first);
      const float* u = draw_uniform(key, a.groups[row] * blocks, first, count, buffer);
      std::memcpy(a.numbers + row * a.size + first, u, sizeof(float) * static_cast<size_t>(count));
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
