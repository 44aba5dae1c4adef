// The forward product: bits times bits (fqt_core/ops/forward.py, and hwnc/forward.py for chains). With bits a of the input and b of
// the weight, over the taps inside,
//
//     Σ (2 a - 1)(2 b - 1)  =  4 Σ a b  -  2 Σ a  -  Σ (2 b - 1)
//
// a is 0 outside; the last sum is one of a few for each output channel, and comes from a summed-area table over taps.
#include <type_traits>

#include "channel_moments.h"
#include "geometry.h"
#include "kernels.h"
#include "product.h"

namespace fqt::cuda {
namespace {

// table[i][j][d]: Σ (2 b - 1) over the taps above line i and left of column j.
struct SumTaps {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Geometry g;
  PackedChannels weight;
  GlobalArray<int32_t> table;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= static_cast<int64_t>(g.y.kernel + 1) * (g.x.kernel + 1) * g.outputs) return;
    const int64_t d = i % g.outputs, column = i / g.outputs % (g.x.kernel + 1), line = i / g.outputs / (g.x.kernel + 1);
    int32_t sum = 0;
    for (int64_t y = 0; y < line; ++y) {
      for (int64_t x = 0; x < column; ++x) {
        for (int w = 0; w < weight.words(); ++w) sum += 2 * set_bits(weight.load(t, (d * g.y.kernel + y) * g.x.kernel + x, 0, w));
        sum -= weight.per_group;
      }
    }
    table.store(t, i, sum);
  }
};

// Columns of b: the weights of an output channel, tap by tap.
struct WeightRows {
  Geometry g;
  PackedChannels weight;

  FQT_DEVICE uint32_t word(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    const int words = weight.words();
    return weight.load(t, (group * g.group_outputs() + column) * g.taps() + k / words, 0, static_cast<int>(k % words));
  }
};

// `Order`: of places; `Result`: what holds a sum.
template <Path path_, typename Order, typename Result>
struct Forward {
  static constexpr Path path = path_;
  static constexpr Words words = Words::bits;
  Geometry g;
  PackedChannels x;
  GlobalArray<const uint32_t> b;
  GlobalArray<const int32_t> table;
  GlobalArray<Result> y;
  int64_t rows, columns, steps, splits;

  FQT_DEVICE int planes(const Thread&) const { return 1; }

  struct Row {
    const Forward& of;
    Pixel pixel;
    int group;
    bool there;
    TapWalk walk;

    FQT_DEVICE void restart(int /*plane*/, int64_t /*first: steps are not split*/) { walk = {}; }
    FQT_DEVICE uint32_t next(const Thread& t) {
      const Geometry& g = of.g;
      if (!there || walk.ended(g)) return 0;
      const int h = g.y.input(pixel.y, walk.y), w = g.x.input(pixel.x, walk.x), word = walk.word;
      walk.advance(g, of.x.words());
      if (!g.y.inside(h) || !g.x.inside(w)) return 0;
      return of.x.load(t, g.inputs<Order>().number(pixel.n, h, w), group, word);
    }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t group) const {
    return {*this, g.results<Order>().pixel(r), static_cast<int>(group), r < rows, {}};
  }

  // Corners of the taps inside in the table, and where the pixel's results are.
  struct Place {
    int64_t corners[2][2];
    ChannelRun result;
  };
  FQT_DEVICE Place place(const Thread&, int64_t r) const {
    const Pixel p = g.results<Order>().pixel(r);
    const int64_t lines[] = {g.y.first_tap(p.y), g.y.end_tap(p.y)}, taps[] = {g.x.first_tap(p.x), g.x.end_tap(p.x)};
    Place place{};
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) place.corners[i][j] = (lines[i] * (g.x.kernel + 1) + taps[j]) * g.outputs;
    }
    place.result = g.results<Order>().run(r, g.outputs);
    return place;
  }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t group, int64_t column, int32_t acc, int32_t sum) const {
    const int64_t d = group * g.group_outputs() + column;
    const int32_t inside = table.load(t, p.corners[1][1] + d) - table.load(t, p.corners[0][1] + d) -
                           table.load(t, p.corners[1][0] + d) + table.load(t, p.corners[0][0] + d);
    y.store(t, p.result.first + d * p.result.stride, static_cast<Result>(4 * acc - 2 * sum - inside));
  }
};

template <Path path, typename Order, typename Arguments>
void convolve(const Arguments& a, const Queue& queue) {
  using Result = std::remove_pointer_t<decltype(a.y)>;
  const Geometry g(a.shape);
  const int64_t taps = g.taps(), corners = static_cast<int64_t>(g.y.kernel + 1) * (g.x.kernel + 1) * g.outputs;
  const PackedChannels weight(a.weight, g.outputs * taps, g.group_channels(), 1);
  auto* table = queue.scratch<int32_t>(corners);
  launch(SumTaps{g, weight, {table, corners}}, {ceil_div(corners, SumTaps::threads)}, queue);
  const int64_t words = taps * weight.words();
  const Columns b = arrange_columns(WeightRows{g, weight}, g.groups, g.group_outputs(), words, queue);
  const PackedChannels x(a.x, g.samples * g.pixels(), g.channels, g.groups);
  const int64_t rows = g.samples * g.out_pixels();
  const Forward<path, Order, Result> problem{g, x, b.words, {table, corners}, {a.y, rows * g.outputs}, rows, g.group_outputs(),
                                             b.steps, 1};
  launch_product(problem, g.groups, queue);
}

template <typename Order, typename Arguments>
void convolve(const Arguments& a, const Queue& queue) {
  with_path(queue.path, [&](auto path) { convolve<path, Order>(a, queue); });
}

}  // namespace

void binary_conv2d(const ForwardArguments& a, const Queue& queue) { convolve<BySample>(a, queue); }
void binary_linear(const ForwardArguments& a, const Queue& queue) { convolve<BySample>(a, queue); }

void hwnc_binary_conv2d(const HwncConvArguments& a, const Queue& queue) {
  convolve<ByPixel>(a, queue);
  const ConvShape& s = a.shape;
  channel_moments(a.y, s.out_height * s.out_width * s.samples, s.outputs, a.sum, a.square, queue);
}

}  // namespace fqt::cuda
