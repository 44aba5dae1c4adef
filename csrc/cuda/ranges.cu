// Scans over the groups of a gradient (fqt_core/ops/ranges.py). A block scans a piece of a group; a second kernel joins the
// pieces. Neither least and greatest nor sums of integers depend on the order.
#include "../cpu/gradient.h"
#include "device.h"
#include "kernels.h"
#include "parts.h"
#include "places.h"
#include "reduce.h"

namespace fqt::cuda {
namespace {

constexpr int threads_per_piece = 256;
constexpr int64_t piece = 4096;  // elements

// A block's piece of a group, elements in the order of memory.
struct Pieces {
  GlobalArray<const float> data;
  int64_t groups, channels, pixels, dim, size, per_group;

  explicit Pieces(const Gradient& g)
      : data(g.data, g.samples * g.channels * g.pixels), groups(group_count(g)), channels(g.channels), pixels(g.pixels),
        dim(g.dim), size(group_size(g)), per_group(ceil_div(size, piece)) {}

  int64_t count() const { return groups * per_group; }
  FQT_DEVICE int64_t group(const Thread& t) const { return t.block_x() / per_group; }
  // Calls use(element) for each of a thread's elements.
  template <typename Use>
  FQT_DEVICE void for_each(const Thread& t, Use use) const {
    const int64_t of = group(t), first = t.block_x() % per_group * piece, end = smaller(size, first + piece);
    for (int64_t i = first + t.index(); i < end; i += threads_per_piece) {
      use(data.load(t, dim == 0 ? of * size + i : (i / pixels * channels + of) * pixels + i % pixels));
    }
  }
};

struct RangeOfPiece {
  static constexpr int threads = threads_per_piece, blocks = 4;
  using Shared = BlockRoom<float, threads>;
  Pieces pieces;
  GlobalArray<float> lo, hi;  // of each piece

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    float low = infinity, high = -infinity;
    pieces.for_each(t, [&](float value) {
      low = Least()(low, value);
      high = Greatest()(high, value);
    });
    low = reduce<threads>(t, s, low, Least());
    high = reduce<threads>(t, s, high, Greatest());
    if (t.index() != 0) return;
    lo.store(t, t.block_x(), low);
    hi.store(t, t.block_x(), high);
  }
};

// Sums of places, and of their squares.
struct MomentsOfPiece {
  static constexpr int threads = threads_per_piece, blocks = 4;
  using Shared = BlockRoom<int64_t, threads>;
  Pieces pieces;
  GlobalArray<const float> lo, hi;
  GlobalArray<int64_t> first, second;  // of each piece

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t group = pieces.group(t);
    const Mapping map(lo.load(t, group), hi.load(t, group), most_places);
    int64_t one = 0, two = 0;
    pieces.for_each(t, [&](float value) {
      const int64_t k = place_in_range(value, map);
      one += k;
      two += k * k;
    });
    one = reduce<threads>(t, s, one, Sum());
    two = reduce<threads>(t, s, two, Sum());
    if (t.index() != 0) return;
    first.store(t, t.block_x(), one);
    second.store(t, t.block_x(), two);
  }
};

// Joins the pieces of a group, a thread each.
template <typename T, typename Join>
struct JoinPieces {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const T> of_piece;
  GlobalArray<T> result;
  int64_t groups, per_group;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t group = t.block_x() * threads + t.index();
    if (group >= groups) return;
    T all = of_piece.load(t, group * per_group);
    for (int64_t i = 1; i < per_group; ++i) all = Join()(all, of_piece.load(t, group * per_group + i));
    result.store(t, group, all + T{0});  // -0 becomes +0
  }
};

template <typename Join, typename T>
void join_pieces(const Pieces& pieces, const T* of_piece, T* result, const Queue& queue) {
  const JoinPieces<T, Join> kernel{{of_piece, pieces.count()}, {result, pieces.groups}, pieces.groups, pieces.per_group};
  launch(kernel, {ceil_div(pieces.groups, kernel.threads)}, queue);
}

}  // namespace

void group_range(const RangeArguments& a, const Queue& queue) {
  const Pieces pieces(a.g);
  auto *lo = queue.scratch<float>(pieces.count()), *hi = queue.scratch<float>(pieces.count());
  launch(RangeOfPiece{pieces, {lo, pieces.count()}, {hi, pieces.count()}}, {pieces.count()}, queue);
  join_pieces<Least>(pieces, lo, a.lo, queue);
  join_pieces<Greatest>(pieces, hi, a.hi, queue);
}

void group_moments(const MomentsArguments& a, const Queue& queue) {
  const Pieces pieces(a.g);
  const int64_t count = pieces.count(), groups = pieces.groups;
  auto *first = queue.scratch<int64_t>(count), *second = queue.scratch<int64_t>(count);
  launch(MomentsOfPiece{pieces, {a.lo, groups}, {a.hi, groups}, {first, count}, {second, count}}, {count}, queue);
  join_pieces<Sum>(pieces, first, a.first, queue);
  join_pieces<Sum>(pieces, second, a.second, queue);
}

}  // namespace fqt::cuda
