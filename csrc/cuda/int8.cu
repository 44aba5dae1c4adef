// Products of bytes (fqt_core/ops/int8.py), on the tensor cores of every GPU: a word is 4 bytes of a sum's terms, which are signed.
#include "byte_rows.h"
#include "geometry.h"
#include "kernels.h"
#include "product.h"

namespace fqt::cuda {
namespace {

// What the problems have in common: one kind of operands, one group, whole sums unless steps are split.
struct ByteProblem {
  static constexpr Path path = Path::bytes;
  static constexpr Words words = Words::signed_bytes;
  Geometry g;
  GlobalArray<const uint32_t> b;
  int64_t rows, columns, steps, splits;

  ByteProblem(const Geometry& g_, const Columns& b_, int64_t rows_, int64_t columns_, int64_t splits_)
      : g(g_), b(b_.words), rows(rows_), columns(columns_), steps(b_.steps), splits(splits_) {}

  FQT_DEVICE int planes(const Thread&) const { return 1; }
  using Place = int64_t;
  FQT_DEVICE Place place(const Thread&, int64_t r) const { return r * columns; }
};

// The places that a row's terms are read from, tap by tap: problem.source(pixel, walk) is one, or -1.
template <typename Problem>
struct TapRow {
  const Problem& of;
  Pixel pixel;
  bool there;
  TapWalk walk;

  FQT_DEVICE void restart(int /*plane*/, int64_t /*first: steps are not split*/) { walk = {}; }
  FQT_DEVICE uint32_t next(const Thread& t) {
    if (!there || walk.ended(of.g)) return 0;
    const int64_t source = of.source(pixel, walk);
    const int word = walk.word;
    walk.advance(of.g, of.bytes.words());
    return source < 0 ? of.outside : of.bytes.load(t, source, word);
  }
};

// Terms: taps and input channels. A row of b: the weights of an output channel.
struct Convolve : ByteProblem {
  using Row = TapRow<Convolve>;
  ByteRows<int8_t> bytes;
  uint32_t outside;
  GlobalArray<int32_t> y;

  Convolve(const Int8ForwardArguments& a, const Geometry& g_, const Columns& b_)
      : ByteProblem(g_, b_, g_.samples * g_.out_pixels(), g_.outputs, 1), bytes(a.x, g.samples * g.pixels(), g.channels),
        outside(static_cast<uint8_t>(a.fill) * 0x01010101U), y(a.y, rows * columns) {}

  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t) const { return {*this, g.results<BySample>().pixel(r), r < rows, {}}; }
  FQT_DEVICE int64_t source(const Pixel& p, const TapWalk& walk) const {
    const int h = g.y.input(p.y, walk.y), w = g.x.input(p.x, walk.x);
    return g.y.inside(h) && g.x.inside(w) ? g.inputs<BySample>().number(p.n, h, w) : -1;
  }
  FQT_DEVICE void store(const Thread& t, Place p, int64_t, int64_t column, int32_t acc, int32_t) const { y.store(t, p + column, acc); }
};

struct WeightRows {
  int taps;
  ByteRows<int8_t> weight;  // of (output, tap)

  FQT_DEVICE uint32_t word(const Thread& t, int64_t, int64_t column, int64_t k) const {
    return weight.load(t, column * taps + k / weight.words(), k % weight.words());
  }
};

// Terms: taps and output channels. A row of b: the weights of an input channel.
struct InputGradient : ByteProblem {
  using Row = TapRow<InputGradient>;
  ByteRows<int8_t> bytes;
  static constexpr uint32_t outside = 0;
  GlobalArray<int32_t> result;

  InputGradient(const Int8InputArguments& a, const Geometry& g_, const Columns& b_)
      : ByteProblem(g_, b_, g_.samples * g_.pixels(), g_.channels, 1), bytes(a.codes, g.samples * g.out_pixels(), g.outputs),
        result(a.result, rows * columns) {}

  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t) const { return {*this, g.inputs<BySample>().pixel(r), r < rows, {}}; }
  FQT_DEVICE int64_t source(const Pixel& p, const TapWalk& walk) const {
    const int h = g.y.output(p.y, walk.y), w = g.x.output(p.x, walk.x);
    return h < 0 || w < 0 ? -1 : g.results<BySample>().number(p.n, h, w);
  }
  FQT_DEVICE void store(const Thread& t, Place p, int64_t, int64_t column, int32_t acc, int32_t) const {
    result.store(t, p + column, acc);
  }
};

struct WeightColumns {
  Geometry g;
  GlobalArray<const int8_t> weight;

  FQT_HOST_DEVICE int words() const { return (g.outputs + 3) / 4; }
  FQT_DEVICE uint32_t word(const Thread& t, int64_t, int64_t column, int64_t k) const {
    const int64_t tap = k / words(), first = k % words() * 4;
    return quad_of([&](int i) -> int8_t {
      return first + i < g.outputs ? weight.load(t, ((first + i) * g.taps() + tap) * g.channels + column) : int8_t{0};
    });
  }
};

// Terms: output positions, which blocks share out. A column of b: what they see of an input channel by a tap.
struct WeightGradient : ByteProblem {
  ByteRows<int8_t> codes;
  GlobalArray<int64_t> result;

  WeightGradient(const Int8WeightArguments& a, const Geometry& g_, const Columns& b_, int64_t columns_, int64_t splits_)
      : ByteProblem(g_, b_, g_.outputs, columns_, splits_), codes(a.codes, g.outputs, g.samples * g.out_pixels()),
        result(a.result, rows * columns) {}

  struct Row {
    const ByteRows<int8_t>& codes;
    int64_t row, at;
    bool there;

    FQT_DEVICE void restart(int /*plane*/, int64_t first) { at = first * fragment_words; }
    FQT_DEVICE uint32_t next(const Thread& t) {
      const int64_t word = at++;
      return there && word < codes.words() ? codes.load(t, row, word) : 0;
    }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t) const { return {codes, r, 0, r < rows}; }
  FQT_DEVICE void store(const Thread& t, Place p, int64_t, int64_t column, int32_t acc, int32_t) const {
    result.add(t, p + column, acc);
  }
};

struct InputColumns {
  Geometry g;
  GlobalArray<const int8_t> x;

  FQT_DEVICE uint32_t word(const Thread& t, int64_t, int64_t column, int64_t k) const {
    const auto tap = static_cast<int>(column / g.channels);
    const BySample positions = g.results<BySample>();
    return quad_of([&](int i) -> int8_t {
      const int64_t position = k * 4 + i;
      if (position >= positions.count()) return 0;
      const Pixel p = positions.pixel(position);
      const int h = g.y.input(p.y, tap / g.x.kernel), w = g.x.input(p.x, tap % g.x.kernel);
      if (!g.y.inside(h) || !g.x.inside(w)) return 0;
      return x.load(t, g.inputs<BySample>().number(p.n, h, w) * g.channels + column % g.channels);
    });
  }
};

}  // namespace

void int8_conv2d(const Int8ForwardArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  const WeightRows source{g.taps(), ByteRows<int8_t>(a.weight, static_cast<int64_t>(g.outputs) * g.taps(), g.channels)};
  const Columns b = arrange_columns(source, 1, g.outputs, static_cast<int64_t>(g.taps()) * source.weight.words(), queue);
  launch_product(Convolve(a, g, b), 1, queue);
}

void int8_input_gradient(const Int8InputArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  const WeightColumns source{g, {a.weight, static_cast<int64_t>(g.outputs) * g.taps() * g.channels}};
  const Columns b = arrange_columns(source, 1, g.channels, static_cast<int64_t>(g.taps()) * source.words(), queue);
  launch_product(InputGradient(a, g, b), 1, queue);
}

void int8_weight_gradient(const Int8WeightArguments& a, const Queue& queue) {
  // 32 bits hold the sum of so many products.
  constexpr int64_t most_steps = INT32_MAX / (128 * 128) / (4 * fragment_words);
  const Geometry g(a.shape);
  const int64_t columns = static_cast<int64_t>(g.taps()) * g.channels, results = g.outputs * columns;
  fill_with_zeros(reinterpret_cast<uint32_t*>(a.result), 2 * results, queue);
  const InputColumns source{g, {a.x, g.samples * g.pixels() * g.channels}};
  const Columns b = arrange_columns(source, 1, columns, ceil_div(g.samples * g.out_pixels(), 4), queue);
  const int64_t blocks = larger(1, ceil_div(g.outputs, tile_rows) * ceil_div(columns, tile_columns));
  const int64_t splits = larger(ceil_div(b.steps, most_steps), splits_for(blocks, b.steps));
  if (b.steps > 0) launch_product(WeightGradient(a, g, b, columns, splits), 1, queue);
}

}  // namespace fqt::cuda
