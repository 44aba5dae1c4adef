// The product that gives dL/dW (fqt_core/ops/backward.py): codes q of kept output channels times input signs s = 2 b - 1, over all
// output positions, for a tap and an input channel
//
//     Σ q s  =  2 Σ q b  -  Σ q v           v = 1 where the tap lies inside, else 0; b is 0 where v is
//
// v is one more column of each tap, so that its sums come out of the same product. There are many terms and few results: blocks share
// out the terms, and add what they find, which are integers.
#include "codes.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

// Columns of b, turned: a warp takes 32 positions (a lane each) and 32 channels of a tap.
struct TurnInput {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Geometry g;
  PackedChannels x;
  int64_t positions, steps, columns;
  GlobalArray<uint32_t> b;

  int64_t warps() const { return static_cast<int64_t>(g.groups) * g.taps() * steps * fragment_words * x.words(); }

  FQT_DEVICE void store_column(const Thread& t, int group, int64_t column, int64_t k, uint32_t word) const {
    const Slot slot = slot_of_b(static_cast<int>(k % fragment_words), static_cast<int>(column % fragment_columns));
    const int64_t fragments = ceil_div(columns, fragment_columns), fragment = group * fragments + column / fragment_columns;
    b.store(t, ((fragment * steps + k / fragment_words) * warp_size + slot.lane) * 2 + slot.number, word);
  }

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * (threads / warp_size) + t.warp(), words = steps * fragment_words;
    if (i >= static_cast<int64_t>(g.groups) * g.taps() * words * x.words()) return;
    const int64_t k = i % words;
    const auto half = static_cast<int>(i / words % x.words()), tap = static_cast<int>(i / words / x.words() % g.taps());
    const auto group = static_cast<int>(i / words / x.words() / g.taps());
    const int64_t position = k * half_bits + t.lane();
    const Pixel p(position, g.y.out, g.x.out);
    const int h = g.y.input(p.y, tap / g.x.kernel), w = g.x.input(p.x, tap % g.x.kernel);
    const bool inside = position < positions && g.y.inside(h) && g.x.inside(w);
    const int64_t place = (static_cast<int64_t>(p.n) * g.y.size + h) * g.x.size + w;
    const uint32_t channels = inside ? x.load(t, place, group, half) : 0;
    uint32_t mine = 0;  // of the channel with this lane's number
    for (int c = 0; c < half_bits; ++c) {
      const uint32_t votes = t.ballot((channels >> c & 1) != 0);
      if (c == t.lane()) mine = votes;
    }
    const uint32_t valid = t.ballot(inside);
    const int64_t first = static_cast<int64_t>(tap) * (g.group_channels() + 1), c = half * half_bits + t.lane();
    if (c < g.group_channels()) store_column(t, group, first + c, k, mine);
    if (half == 0 && t.lane() == 0) store_column(t, group, first + g.group_channels(), k, valid);
  }
};

template <Path path_>
struct WeightGradient {
  static constexpr Path path = path_;
  static constexpr Words words = code_words(path);
  Geometry g;
  Codes codes;
  GlobalArray<const int64_t> index;
  GlobalArray<const uint32_t> b;
  GlobalArray<int32_t> sums;  // [row][column]
  int64_t rows, columns, steps, splits;

  FQT_DEVICE int planes(const Thread& t) const { return codes.planes(t); }

  struct Row {
    const WeightGradient& of;
    int64_t row, at, end;

    FQT_DEVICE void restart(int plane, int64_t first) {
      const int64_t begin = plane * of.codes.per_plane + row * of.codes.per_segment;
      at = begin + first * fragment_words;
      end = row < of.rows ? begin + of.codes.per_segment : 0;
    }
    FQT_DEVICE uint32_t next(const Thread& t) { return at < end ? of.codes.words.load(t, at++) : 0; }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t /*group*/) const { return {*this, r, 0, 0}; }

  // Rows of all groups meet the columns of each; only those of their own count.
  struct Place {
    int64_t first, group;
  };
  FQT_DEVICE Place place(const Thread& t, int64_t r) const { return {r * columns, index.load(t, r) / g.group_outputs()}; }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t group, int64_t column, int32_t acc, int32_t /*sum*/) const {
    if (group == p.group) sums.add(t, p.first + column, acc);
  }
};

// result[row][channel][tap] from the sums.
struct Combine {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const int32_t> sums;
  GlobalArray<int32_t> result;
  int64_t rows, channels, taps;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= rows * channels * taps) return;
    const int64_t tap = i % taps, c = i / taps % channels, row = i / taps / channels;
    const int64_t first = (row * taps + tap) * (channels + 1);
    result.store(t, i, 2 * sums.load(t, first + c) - sums.load(t, first + channels));
  }
};

// How many blocks share out the steps of one result: enough to keep a large GPU busy, each with work that is worth its start.
int64_t splits_for(int64_t blocks, int64_t steps) {
  constexpr int64_t wanted_blocks = 1024, least_steps = 16;
  return larger(1, smaller(ceil_div(wanted_blocks, blocks), steps / least_steps));
}

template <Path path>
void multiply(const WeightGradientArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (a.kept == 0) return;
  const int64_t positions = g.samples * g.out_pixels(), channels = g.group_channels();
  const CodeRows rows(a.codes, a.kept, 1, positions);
  const int64_t columns = g.taps() * (channels + 1), steps = ceil_div(rows.words(), fragment_words);
  const int64_t count = g.groups * ceil_div(columns, fragment_columns) * steps * 2 * warp_size;
  auto* b = queue.scratch<uint32_t>(count);
  const TurnInput turn{g, PackedChannels(a.x, g.samples * g.pixels(), g.channels, g.groups), positions, steps, columns, {b, count}};
  launch(turn, {ceil_div(turn.warps(), TurnInput::threads / warp_size)}, queue);

  auto* sums = queue.scratch<int32_t>(a.kept * columns);
  fill_with_zeros(reinterpret_cast<uint32_t*>(sums), a.kept * columns, queue);
  const int64_t blocks = ceil_div(a.kept, tile_rows) * ceil_div(columns, tile_columns) * g.groups;
  const WeightGradient<path> problem{g, arrange_codes<code_words(path)>(rows, queue), {a.index, a.kept}, {b, count},
                                     {sums, a.kept * columns}, a.kept, columns, steps, splits_for(blocks, steps)};
  launch_product(problem, g.groups, queue);

  const int64_t results = a.kept * channels * g.taps();
  launch(Combine{{sums, a.kept * columns}, {a.result, results}, a.kept, channels, g.taps()},
         {ceil_div(results, Combine::threads)}, queue);
}

}  // namespace

void conv2d_weight_gradient(const WeightGradientArguments& a, const Queue& queue) {
  if (queue.path == Path::bits) {
    multiply<Path::bits>(a, queue);
  } else if (queue.path == Path::bytes) {
    multiply<Path::bytes>(a, queue);
  } else {
    multiply<Path::words>(a, queue);
  }
}

}  // namespace fqt::cuda
