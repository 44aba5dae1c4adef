// The product that gives dL/dW (fqt_core/ops/backward.py; hwnc/products.py for chains, pixel/products.py for pixel rows): codes q of
// kept output channels times input signs s = 2 b - 1, over all output positions, for a tap and an input channel
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
// Kept positions, of all (samples, lines, columns).
struct KeptPositions {
  BySample all;
  GlobalArray<const int64_t> index;
  int64_t kept;

  FQT_HOST_DEVICE int64_t count() const { return kept; }
};

template <typename Order>
FQT_DEVICE Pixel pixel_of(const Thread&, const Order& positions, int64_t i) {
  return positions.pixel(i);
}
FQT_DEVICE Pixel pixel_of(const Thread& t, const KeptPositions& positions, int64_t i) {
  return positions.all.pixel(i < positions.kept ? positions.index.load(t, i) : 0);
}

// `Order`: of places of the input.
template <typename Order, typename Positions>
struct TurnInput {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Geometry g;
  PackedChannels x;
  Positions positions;  // of codes; of samples past the last they are 0
  int64_t steps, columns;
  GlobalArray<uint32_t> b;

  int64_t warps() const { return static_cast<int64_t>(g.groups) * g.taps() * steps * fragment_words * x.words(); }

  FQT_DEVICE void store_column(const Thread& t, int group, int64_t column, int64_t k, uint32_t word) const {
    b.store(t, Columns::place(ceil_div(columns, fragment_columns), steps, group, column, k), word);
  }

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * (threads / warp_size) + t.warp(), words = steps * fragment_words;
    if (i >= static_cast<int64_t>(g.groups) * g.taps() * words * x.words()) return;
    const int64_t k = i % words;
    const auto half = static_cast<int>(i / words % x.words()), tap = static_cast<int>(i / words / x.words() % g.taps());
    const auto group = static_cast<int>(i / words / x.words() / g.taps());
    const int64_t position = k * half_bits + t.lane();
    const Pixel p = pixel_of(t, positions, position);
    const int h = g.y.input(p.y, tap / g.x.kernel), w = g.x.input(p.x, tap % g.x.kernel);
    const bool inside = position < positions.count() && p.n < g.samples && g.y.inside(h) && g.x.inside(w);
    const int64_t place = g.inputs<Order>().number(p.n, h, w);
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
  GlobalArray<const int64_t> index;  // of output channels; not there if all are of one group
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
  FQT_DEVICE Place place(const Thread& t, int64_t r) const { return {r * columns, index ? index.load(t, r) / g.group_outputs() : 0}; }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t group, int64_t column, int32_t acc, int32_t /*sum*/) const {
    if (group == p.group) sums.add(t, p.first + column, acc);
  }
};

// result[row][channel][tap] from the sums.
struct SumsOfWeights {
  GlobalArray<int32_t> result;
  int64_t channels, taps;

  FQT_HOST_DEVICE int64_t tap(int64_t i) const { return i % taps; }
  FQT_HOST_DEVICE int64_t channel(int64_t i) const { return i / taps % channels; }
  FQT_DEVICE void store(const Thread& t, int64_t i, int64_t /*row*/, int64_t /*column*/, int32_t sum) const { result.store(t, i, sum); }
};

// result[row][tap][channel]: scale · sum + offset · Σ s, each operation rounded by itself.
struct ScaledWeights {
  GlobalArray<const float> scale, offset;
  GlobalArray<const int32_t> ones;  // bits of each column of b that are set
  GlobalArray<float> result;
  int64_t channels, taps;

  FQT_HOST_DEVICE int64_t tap(int64_t i) const { return i / channels % taps; }
  FQT_HOST_DEVICE int64_t channel(int64_t i) const { return i % channels; }
  FQT_DEVICE void store(const Thread& t, int64_t i, int64_t row, int64_t first, int32_t sum) const {
    const int32_t constant = 2 * ones.load(t, first + channel(i)) - ones.load(t, first + channels);
    result.store(t, i, static_cast<float>(sum) * scale.load(t, row) + static_cast<float>(constant) * offset.load(t, row));
  }
};

// A warp counts the bits of 8 columns of b in some of the steps.
struct CountBits {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Columns b;
  int64_t columns, splits;
  GlobalArray<int32_t> ones;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t fragment = t.block_x(), split = t.block_y() * (threads / warp_size) + t.warp();
    int32_t count = 0;
    for (int64_t step = split; step < b.steps; step += splits) {
      const Pair words = b.words.load2(t, ((fragment * b.steps + step) * warp_size + t.lane()) * 2);
      count += set_bits(words.word[0]) + set_bits(words.word[1]);
    }
    for (int mask = 1; mask < 4; mask *= 2) count += t.from_lane_xor(count, mask);  // of the lanes of a column
    const int64_t column = fragment * fragment_columns + t.lane() / 4;
    if (t.lane() % 4 == 0 && column < columns) ones.add(t, column, count);
  }
};

template <typename Output>
struct Combine {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const int32_t> sums;
  Output output;
  int64_t rows;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    const int64_t channels = output.channels, taps = output.taps, row = i / taps / channels;
    if (row >= rows) return;
    const int64_t first = output.tap(i) * (channels + 1), own = row * taps * (channels + 1) + first;
    const int32_t sum = 2 * sums.load(t, own + output.channel(i)) - sums.load(t, own + channels);
    output.store(t, i, row, first, sum);
  }
};

int64_t column_count(const Geometry& g) { return static_cast<int64_t>(g.taps()) * (g.group_channels() + 1); }

template <typename Order, typename Positions>
Columns turn_input(const Geometry& g, const uint64_t* x, const Positions& positions, const Queue& queue) {
  const int64_t columns = column_count(g), fragments = ceil_div(columns, fragment_columns);
  const int64_t steps = ceil_div(ceil_div(positions.count(), half_bits), fragment_words);
  const int64_t count = g.groups * fragments * steps * 2 * warp_size;
  auto* b = queue.scratch<uint32_t>(count);
  const PackedChannels input(x, g.samples * g.pixels(), g.channels, g.groups);
  const TurnInput<Order, Positions> turn{g, input, positions, steps, columns, {b, count}};
  launch(turn, {ceil_div(turn.warps(), turn.threads / warp_size)}, queue);
  return {{b, count}, fragments, steps};
}

template <typename From, typename Output>
void multiply(const Geometry& g, const From& rows, const GlobalArray<const int64_t>& index, const Columns& b, const Output& output,
              const Queue& queue) {
  const int64_t columns = column_count(g), count = rows.rows * columns;
  auto* sums = queue.scratch<int32_t>(count);
  fill_with_zeros(reinterpret_cast<uint32_t*>(sums), count, queue);
  const int64_t blocks = ceil_div(rows.rows, tile_rows) * ceil_div(columns, tile_columns) * g.groups;
  with_path(queue.path, [&](auto path) {
    const WeightGradient<path> problem{g, arrange_codes<code_words(path)>(rows, queue), index, b.words, {sums, count}, rows.rows,
                                       columns, b.steps, splits_for(blocks, b.steps)};
    launch_product(problem, g.groups, queue);
  });
  const Combine<Output> combine{{sums, count}, output, rows.rows};
  launch(combine, {ceil_div(rows.rows * output.channels * output.taps, combine.threads)}, queue);
}

}  // namespace

void conv2d_weight_gradient(const WeightGradientArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (a.kept == 0) return;
  const BySample positions = g.results<BySample>();
  const SumsOfWeights output{{a.result, a.kept * g.group_channels() * g.taps()}, g.group_channels(), g.taps()};
  const Columns b = turn_input<BySample>(g, a.x, positions, queue);
  multiply(g, CodeRows(a.codes, a.kept, 1, positions.count()), {a.index, a.kept}, b, output, queue);
}

void pixel_weight_gradient(const PixelWeightArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (a.rows == 0) return;
  const SumsOfWeights output{{a.result, a.rows * g.group_channels() * g.taps()}, g.group_channels(), g.taps()};
  const KeptPositions positions{g.results<BySample>(), {a.index, a.kept}, a.kept};
  const Columns b = turn_input<BySample>(g, a.x, positions, queue);
  multiply(g, CodeRows(a.codes, a.rows, 1, a.kept, a.bits), {a.output, a.rows}, b, output, queue);
}

void hwnc_weight_gradient(const HwncWeightGradientArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (a.kept == 0) return;
  const ByPixel positions(static_cast<int>(round_up(g.samples, 4)), g.y.out, g.x.out);
  const Columns b = turn_input<ByPixel>(g, a.x, positions, queue);
  const int64_t columns = column_count(g);
  auto* ones = queue.scratch<int32_t>(columns);
  fill_with_zeros(reinterpret_cast<uint32_t*>(ones), columns, queue);
  const int64_t splits = splits_for(b.fragments, b.steps), per_block = CountBits::threads / warp_size;
  const CountBits count{b, columns, round_up(splits, per_block), {ones, columns}};
  launch(count, {b.fragments, ceil_div(splits, per_block)}, queue);
  const ScaledWeights output{{a.scale, a.kept}, {a.offset, a.kept}, {ones, columns}, {a.result, a.kept * g.channels * g.taps()},
                             g.channels, g.taps()};
  multiply(g, CodesOfPixels(a.codes, positions.pixels(), a.kept, positions.samples), {}, b, output, queue);
}

}  // namespace fqt::cuda
