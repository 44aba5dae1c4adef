// The product that gives dL/dX (fqt_core/ops/backward.py, and hwnc/products.py for chains): codes q of kept samples times transposed
// weights s = 2 b - 1,
//
//     Σ q s  =  2 Σ q b  -  Σ q
//
// over the outputs that an input position reaches; for the others q is 0.
#include "codes.h"
#include "kernels.h"
#include "weight_columns.h"

namespace fqt::cuda {
namespace {

// The sums as they are, (samples, channels, height, width).
struct SumsOfInputs {
  using Order = BySample;
  Geometry g;
  GlobalArray<int32_t> result;

  using Place = ChannelRun;
  FQT_DEVICE Place place(const Thread&, int64_t r) const { return g.inputs<Order>().run(r, g.channels); }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t c, int32_t sum) const {
    result.store(t, p.first + c * p.stride, sum);
  }
};

// scale · sum + offset · constant inside the window, (height, width, samples, channels); each operation rounds by itself.
struct ScaledInputs {
  using Order = ByPixel;
  Geometry g;
  GlobalArray<const float> scale, offset, constants;
  GlobalArray<const uint32_t> window;  // of all samples
  GlobalArray<const int64_t> index;
  int64_t all_samples;
  GlobalArray<float> result;

  FQT_HOST_DEVICE int64_t halves() const { return 2 * ceil_div(g.channels, 64); }

  struct Place {
    int64_t result, constant, window;
    float scale, offset;
  };
  FQT_DEVICE Place place(const Thread& t, int64_t r) const {
    const int64_t pixel = r / g.samples, n = r % g.samples;
    return {r * g.channels, pixel * g.channels, (pixel * all_samples + index.load(t, n)) * halves(), scale.load(t, n),
            offset.load(t, n)};
  }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t c, int32_t sum) const {
    const float value = static_cast<float>(sum) * p.scale + constants.load(t, p.constant + c) * p.offset;
    const bool inside = (window.load(t, p.window + c / half_bits) >> (c % half_bits) & 1) != 0;
    result.store(t, p.result + c, inside ? value : 0.0F);
  }
};

// `Output`: what becomes of the sums.
template <Path path_, typename Output>
struct InputGradient {
  using Order = typename Output::Order;
  static constexpr Path path = path_;
  static constexpr Words words = code_words(path);
  Geometry g;
  Codes codes;
  GlobalArray<const uint32_t> b;
  Output output;
  int64_t rows, columns, steps, splits;

  FQT_DEVICE int planes(const Thread& t) const { return codes.planes(t); }

  struct Row {
    const InputGradient& of;
    Pixel pixel;
    int group;
    bool there;
    int64_t plane;
    TapWalk walk;

    FQT_DEVICE void restart(int plane_, int64_t /*first: steps are not split*/) {
      plane = plane_ * of.codes.per_plane;
      walk = {};
    }
    FQT_DEVICE uint32_t next(const Thread& t) {
      const Geometry& g = of.g;
      if (!there || walk.ended(g)) return 0;
      const int h = g.y.output(pixel.y, walk.y), w = g.x.output(pixel.x, walk.x), word = walk.word;
      walk.advance(g, static_cast<int>(of.codes.per_segment));
      if (h < 0 || w < 0) return 0;
      const int64_t place = g.results<Order>().number(pixel.n, h, w);
      return of.codes.words.load(t, plane + (place * g.groups + group) * of.codes.per_segment + word);
    }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t group) const {
    return {*this, g.inputs<Order>().pixel(r), static_cast<int>(group), r < rows, 0, {}};
  }

  using Place = typename Output::Place;
  FQT_DEVICE Place place(const Thread& t, int64_t r) const { return output.place(t, r); }
  FQT_DEVICE void store(const Thread& t, const Place& p, int64_t group, int64_t column, int32_t acc, int32_t sum) const {
    output.store(t, p, group * g.group_channels() + column, 2 * acc - sum);
  }
};

// Σ s over the taps that reach an input position, [position][channel]; one group.
struct SumReachingTaps {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Geometry g;
  Columns b;
  int words;  // of a tap
  GlobalArray<float> constants;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= g.pixels() * g.channels) return;
    const int64_t c = i % g.channels;
    const auto w = static_cast<int>(i / g.channels % g.x.size), h = static_cast<int>(i / g.channels / g.x.size);
    int32_t sum = 0;
    TapWalk walk;
    for (; !walk.ended(g); walk.advance(g, 1)) {
      if (g.y.output(h, walk.y) < 0 || g.x.output(w, walk.x) < 0) continue;
      const int64_t first = (static_cast<int64_t>(walk.y) * g.x.kernel + walk.x) * words;
      for (int64_t k = first; k < first + words; ++k) sum += 2 * set_bits(b.load(t, 0, c, k));
      sum -= g.outputs;
    }
    constants.store(t, i, static_cast<float>(sum));
  }
};

template <Path path, typename Output>
void multiply(const Geometry& g, const uint8_t* codes, const Columns& b, const Output& output, const Queue& queue) {
  const CodeRows rows(codes, g.samples * g.out_pixels(), g.groups, g.group_outputs());
  const InputGradient<path, Output> problem{g, arrange_codes<code_words(path)>(rows, queue), b.words, output,
                                            g.samples * g.pixels(), g.group_channels(), b.steps, 1};
  launch_product(problem, g.groups, queue);
}

template <typename Output>
void multiply(const Geometry& g, const uint8_t* codes, const Columns& b, const Output& output, const Queue& queue) {
  with_path(queue.path, [&](auto path) { multiply<path>(g, codes, b, output, queue); });
}

Columns arrange_weight(const Geometry& g, const WeightColumns& source, const Queue& queue) {
  return arrange_columns(source, g.groups, g.group_channels(), static_cast<int64_t>(g.taps()) * source.words(), queue);
}

}  // namespace

void conv2d_input_gradient(const InputGradientArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (g.samples == 0) return;
  const SumsOfInputs output{g, {a.result, g.samples * g.channels * g.pixels()}};
  multiply(g, a.codes, arrange_weight(g, WeightColumns(g, a.weight), queue), output, queue);
}

void hwnc_input_gradient(const HwncInputGradientArguments& a, const Queue& queue) {
  if (a.kept == 0) return;
  ConvShape shape = a.shape;
  shape.samples = a.kept;
  const Geometry g(shape);
  const WeightColumns weight = WeightColumns(g, a.weight);
  const Columns b = arrange_weight(g, weight, queue);
  const int64_t values = g.pixels() * g.channels;
  auto* constants = queue.scratch<float>(values);
  launch(SumReachingTaps{g, b, weight.words(), {constants, values}}, {ceil_div(values, SumReachingTaps::threads)}, queue);
  const int64_t halves = 2 * ceil_div(g.channels, 64);
  const ScaledInputs output{g, {a.scale, a.kept}, {a.offset, a.kept}, {constants, values},
                            {reinterpret_cast<const uint32_t*>(a.window), g.pixels() * a.shape.samples * halves},
                            {a.index, a.kept}, a.shape.samples, {a.result, a.kept * values}};
  multiply(g, a.codes, b, output, queue);
}

}  // namespace fqt::cuda
