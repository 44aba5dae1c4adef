#include "channel_moments.h"

#include "parts.h"

namespace fqt::cuda {
namespace {

// Block (x, y): rows of a slab, 32 channels.
struct MomentsOfSlab {
  static constexpr int threads = threads_of_parts, blocks = 4;
  using Shared = PairRoom<int64_t>;
  GlobalArray<const int16_t> y;
  int64_t rows, channels;
  Parts<int64_t> parts;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t slab = t.block_x(), c = t.block_y() * warp_size + t.lane();
    const int64_t begin = rows * slab / parts.parts, end = rows * (slab + 1) / parts.parts;
    Two<int64_t> value = Sums::start();
    if (c < channels) {
      for (int64_t row = begin + t.warp(); row < end; row += warps_of_parts) {
        const int32_t v = y.load(t, row * channels + c);
        join<Sums>(value, {v, v * v});
      }
    }
    value = join_warps<Sums>(t, s, value);
    if (t.warp() == 0 && c < channels) parts.store(t, slab, c, value);
  }
};

struct StoreSums {
  GlobalArray<int64_t> first, second;

  FQT_DEVICE void store(const Thread& t, int64_t group, const Two<int64_t>& value) const {
    first.store(t, group, value.first);
    second.store(t, group, value.second);
  }
};

}  // namespace

void channel_moments(const int16_t* y, int64_t rows, int64_t channels, int64_t* sum, int64_t* square, const Queue& queue) {
  const int64_t tiles = ceil_div(channels, warp_size);
  const PartsMemory<int64_t> parts(slabs_for(rows, tiles), channels, queue);
  launch(MomentsOfSlab{{y, rows * channels}, rows, channels, parts.arrays()}, {parts.parts, tiles}, queue);
  join_parts<Sums>(parts, StoreSums{{sum, channels}, {square, channels}}, queue);
}

}  // namespace fqt::cuda
