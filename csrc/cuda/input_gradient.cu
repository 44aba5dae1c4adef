// The product that gives dL/dX (fqt_core/ops/backward.py): codes q of kept samples times transposed weights s = 2 b - 1,
//
//     Σ q s  =  2 Σ q b  -  Σ q
//
// over the outputs that an input position reaches; for the others q is 0.
#include "codes.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

// Columns of b: the weights of an input channel, tap by tap, 32 output channels to a word.
struct WeightColumns {
  Geometry g;
  PackedChannels weight;

  FQT_HOST_DEVICE int words() const { return (g.group_outputs() + half_bits - 1) / half_bits; }
  FQT_DEVICE uint32_t word(const Thread& t, int64_t group, int64_t column, int64_t k) const {
    const int64_t tap = k / words(), first = k % words() * half_bits;
    const auto half = static_cast<int>(column / half_bits), bit = static_cast<int>(column % half_bits);
    uint32_t bits = 0;
    for (int i = 0; i < half_bits && first + i < g.group_outputs(); ++i) {
      const int64_t d = group * g.group_outputs() + first + i;
      bits |= (weight.load(t, d * g.taps() + tap, 0, half) >> bit & 1) << i;
    }
    return bits;
  }
};

template <Path path_>
struct InputGradient {
  static constexpr Path path = path_;
  static constexpr Words words = code_words(path);
  Geometry g;
  Codes codes;
  GlobalArray<const uint32_t> b;
  GlobalArray<int32_t> result;
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
      const int64_t place = (static_cast<int64_t>(pixel.n) * g.y.out + h) * g.x.out + w;
      return of.codes.words.load(t, plane + (place * g.groups + group) * of.codes.per_segment + word);
    }
  };
  FQT_DEVICE Row row(const Thread&, int64_t r, int64_t group) const {
    return {*this, Pixel(r, g.y.size, g.x.size), static_cast<int>(group), r < rows, 0, {}};
  }

  using Place = int64_t;
  FQT_DEVICE Place place(const Thread&, int64_t r) const { return r / g.pixels() * g.channels * g.pixels() + r % g.pixels(); }
  FQT_DEVICE void store(const Thread& t, Place p, int64_t group, int64_t column, int32_t acc, int32_t sum) const {
    result.store(t, p + (group * g.group_channels() + column) * g.pixels(), 2 * acc - sum);
  }
};

template <Path path>
void multiply(const InputGradientArguments& a, const Queue& queue) {
  const Geometry g(a.shape);
  if (g.samples == 0) return;
  const CodeRows rows(a.codes, g.samples * g.out_pixels(), g.groups, g.group_outputs());
  const WeightColumns source{g, PackedChannels(a.weight, static_cast<int64_t>(g.outputs) * g.taps(), g.group_channels(), 1)};
  const int64_t words = g.taps() * rows.words();
  const auto b = arrange_columns(source, g.groups, g.group_channels(), words, queue);
  const InputGradient<path> problem{g, arrange_codes<code_words(path)>(rows, queue), b,
                                    {a.result, g.samples * g.channels * g.pixels()}, g.samples * g.pixels(), g.group_channels(),
                                    ceil_div(words, fragment_words), 1};
  launch_product(problem, g.groups, queue);
}

}  // namespace

void conv2d_input_gradient(const InputGradientArguments& a, const Queue& queue) {
  if (queue.path == Path::bits) {
    multiply<Path::bits>(a, queue);
  } else if (queue.path == Path::bytes) {
    multiply<Path::bytes>(a, queue);
  } else {
    multiply<Path::words>(a, queue);
  }
}

}  // namespace fqt::cuda
