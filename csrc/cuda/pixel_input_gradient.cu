// The product that gives dL/dX from kept pixel rows (fqt_core/ops/pixel/products.py): for each kept row, tap and input channel
//
//     Σ (2 q - L)(2 b - 1)  =  4 Σ q b  -  2 Σ q  -  L Σ (2 b - 1)
//
// and outside of it a scale for the row, so that taps do not add up as integers. What fits the memory meant for them is computed for some
// rows, and added to the inputs that these reach, each in the order of its rows; then the next rows follow.
#include "codes.h"
#include "kernels.h"
#include "rows.h"
#include "weight_columns.h"

namespace fqt::cuda {
namespace {

// Columns of b: the weights of an input channel under a tap.
struct TapColumns {
  WeightColumns weight;

  FQT_DEVICE uint32_t word(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    const int channels = weight.g.group_channels();
    return weight.word(t, group, column % channels, column / channels * weight.words() + k);
  }
};

// 4 Σ q b - 2 Σ q, [row][group][tap][channel].
template <Path path_>
struct RowProducts {
  static constexpr Path path = path_;
  static constexpr Words words = code_words(path);
  Codes codes;
  GlobalArray<const uint32_t> b;
  GlobalArray<int32_t> products;
  int64_t groups, rows, columns, steps, splits;

  FQT_DEVICE int planes(const Thread& t) const { return codes.planes(t); }

  struct Row {
    const RowProducts& of;
    int64_t segment, at, end;

    FQT_DEVICE void restart(int plane, int64_t /*first: steps are not split*/) {
      at = plane * of.codes.per_plane + segment * of.codes.per_segment;
      end = segment < of.rows * of.groups ? at + of.codes.per_segment : 0;
    }
    FQT_DEVICE uint32_t next(const Thread& t) { return at < end ? of.codes.words.load(t, at++) : 0; }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t group) const { return {*this, r * groups + group, 0, 0}; }

  using Place = int64_t;
  FQT_DEVICE Place place(const Thread&, int64_t r) const { return r * groups * columns; }
  FQT_DEVICE void store(const Thread& t, Place p, int64_t group, int64_t column, int32_t acc, int32_t sum) const {
    products.store(t, p + group * columns + column, 4 * acc - 2 * sum);
  }
};

// Σ (2 b - 1) of each column, and with the dither's signs if there are any, [group][tap][channel].
struct SumColumns {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Columns b;
  GlobalArray<const float> sign;
  GlobalArray<int32_t> ones, signs;
  int64_t groups, columns, outputs;  // columns and outputs of a group

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), group = i / columns;
    if (i >= groups * columns) return;
    int32_t set = 0, same = 0;
    for (int64_t k = 0; k * half_bits < outputs; ++k) {
      const uint32_t word = b.load(t, group, i % columns, k);
      set += set_bits(word);
      for (int d = 0; sign && d < half_bits && k * half_bits + d < outputs; ++d) {
        const bool positive = sign.load(t, group * outputs + k * half_bits + d) > 0.0F;
        same += ((word >> d & 1) != 0) == positive ? 1 : 0;
      }
    }
    ones.store(t, i, static_cast<int32_t>(2 * set - outputs));
    if (signs) signs.store(t, i, static_cast<int32_t>(2 * same - outputs));
  }
};

// Adds what kept rows first .. first + count - 1 give to the inputs: taps from the last to the first, so rows rise.
struct AddTaps {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  Geometry g;
  GlobalArray<const int32_t> places;  // of output positions among the kept rows, or -1
  GlobalArray<const int32_t> products, ones, signs;
  GlobalArray<const float> scale, offset, dither;
  GlobalArray<float> result;
  int64_t first, count;
  int32_t levels;

  // What a row gives, each operation rounded by itself.
  FQT_DEVICE float term(const Thread& t, int64_t j, int64_t at, int64_t column) const {
    const int32_t all = ones.load(t, column);
    const auto odd = static_cast<float>(products.load(t, at) - levels * all);
    if (!scale) return odd;
    const float constant = offset.load(t, j) * static_cast<float>(all) - dither.load(t, j) * static_cast<float>(signs.load(t, column));
    return scale.load(t, j) * odd + constant;
  }
  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    const BySample inputs = g.inputs<BySample>(), outputs = g.results<BySample>();
    if (i >= inputs.count() * g.channels) return;
    const Pixel p = inputs.pixel(i / g.channels);
    const int channel = static_cast<int>(i % g.channels), group = channel / g.group_channels();
    float sum = first == 0 ? 0.0F : result.load(t, i);
    for (int tap = g.taps() - 1; tap >= 0; --tap) {
      const int h = g.y.output(p.y, tap / g.x.kernel), w = g.x.output(p.x, tap % g.x.kernel);
      if (h < 0 || w < 0) continue;
      const int64_t j = places.load(t, outputs.number(p.n, h, w)), row = j - first;
      if (j < 0 || row < 0 || row >= count) continue;
      const int64_t column = (static_cast<int64_t>(group) * g.taps() + tap) * g.group_channels() + channel % g.group_channels();
      sum = sum + term(t, j, row * g.taps() * g.channels + column, column);
    }
    result.store(t, i, sum);
  }
};

}  // namespace

void pixel_input_gradient(const PixelInputArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  const TapColumns source{WeightColumns(g, a.weight)};
  const int64_t columns = static_cast<int64_t>(g.taps()) * g.group_channels(), all_columns = g.groups * columns;
  const Columns b = arrange_columns(source, g.groups, columns, source.weight.words(), queue);
  auto* ones = queue.scratch<int32_t>(all_columns);
  auto* signs = a.sign == nullptr ? nullptr : queue.scratch<int32_t>(all_columns);
  const SumColumns sum{b, {a.sign, g.outputs}, {ones, all_columns}, {signs, all_columns}, g.groups, columns, g.group_outputs()};
  launch(sum, {ceil_div(all_columns, SumColumns::threads)}, queue);
  const auto places = find_places(a.index, a.kept, g.samples * g.out_pixels(), queue);

  const auto row_bytes = static_cast<int64_t>(sizeof(int32_t)) * larger(1, all_columns);
  const int64_t together = larger(tile_rows, queue.piece_bytes / row_bytes / tile_rows * tile_rows);
  auto* products = queue.scratch<int32_t>(smaller(together, a.kept) * all_columns);
  const int64_t inputs = g.samples * g.pixels() * g.channels;
  int64_t first = 0;
  do {  // once even without kept rows, for zeros
    const int64_t count = smaller(together, a.kept - first);
    with_path(queue.path, [&](auto path) {
      const CodeRows rows(a.codes + first * g.outputs, count, g.groups, g.group_outputs(), a.bits);
      const RowProducts<path> problem{arrange_codes<code_words(path)>(rows, queue), b.words, {products, count * all_columns},
                                      g.groups, count, columns, b.steps, 1};
      launch_product(problem, g.groups, queue);
    });
    const AddTaps add{g, places, {products, count * all_columns}, {ones, all_columns}, {signs, all_columns}, {a.scale, a.kept},
                      {a.offset, a.kept}, {a.dither, a.kept}, {a.result, inputs}, first, count, (1 << a.bits) - 1};
    launch(add, {ceil_div(inputs, AddTaps::threads)}, queue);
    first += together;
  } while (first < a.kept);
}

}  // namespace fqt::cuda
