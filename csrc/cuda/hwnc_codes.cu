// Codes of a block's gradient (fqt_core/ops/hwnc/gradient.py): each element is made on the way, at the resolution of the product.
#include "kernels.h"
#include "random.h"
#include "rounding.h"
#include "rows.h"

namespace fqt::cuda {
namespace {

struct Quantizer {
  BlockGradient gradient;
  GlobalArray<const uint8_t> choice;
  GlobalArray<const int64_t> kept;
  GlobalArray<const float> lo, hi;
  GlobalArray<uint8_t> codes;
  PhiloxKey key;
  int64_t kept_count, height, width, size;  // of the product; elements of a group
  float levels;

  Quantizer(const HwncQuantizeArguments& a, int64_t size_, int64_t code_count, const Queue& queue)
      : gradient(a.gradient, queue), choice(a.choice, gradient.pixels() * gradient.samples * gradient.channels),
        kept(a.kept, a.kept_count), lo(a.lo, a.kept_count), hi(a.hi, a.kept_count), codes(a.codes, code_count),
        key{a.key[0], a.key[1], a.step, a.layer, a.purpose}, kept_count(a.kept_count), height(a.out_height), width(a.out_width),
        size(size_), levels(static_cast<float>(a.levels)) {}

  FQT_DEVICE Mapping mapping(const Thread& t, int64_t row) const { return {lo.load(t, row), hi.load(t, row), levels}; }
  FQT_DEVICE Uniform uniform(int64_t group) const { return {key, group * ceil_div(size, 4)}; }

  // v at a pixel of the product: 0 where another of its window was chosen, and in what pooling left out.
  FQT_DEVICE float load(const Thread& t, int64_t pixel, int64_t sample, int64_t d) const {
    if (!choice) return gradient.load(t, pixel, sample, d);
    const int64_t line = pixel / width, column = pixel % width;
    if (line / 2 >= gradient.height || column / 2 >= gradient.width) return 0.0F;
    const int64_t source = line / 2 * gradient.width + column / 2;
    const bool chosen = choice.load(t, gradient.element(source, sample, d)) == line % 2 * 2 + column % 2;
    return chosen ? gradient.load(t, source, sample, d) : 0.0F;
  }
};

// Samples: a group's elements are pixel by pixel, channels side by side, as its codes are. A thread takes those of one block of random
// numbers.
struct QuantizeSamples {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  Quantizer q;
  GlobalArray<const float> alpha;
  int64_t blocks_per_row;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t row = t.block_x() / blocks_per_row, channels = q.gradient.channels;
    const int64_t begin = (t.block_x() % blocks_per_row * threads + t.index()) * 4, end = smaller(begin + 4, q.size);
    if (begin >= end) return;
    const int64_t sample = q.kept.load(t, row);
    const Mapping map = q.mapping(t, row);
    Uniform uniform = q.uniform(sample);
    int64_t pixel = begin / channels, d = begin % channels;
    for (int64_t i = begin; i < end; ++i) {
      const float w = alpha.load(t, d) * q.load(t, pixel, sample, d);
      const uint8_t code = round_up_or_down(w, uniform.number(i), map, q.levels);
      q.codes.store(t, (pixel * q.kept_count + row) * channels + d, code);
      if (++d < channels) continue;
      d = 0;
      ++pixel;
    }
  }
};

// Channels: a group's elements are pixel by pixel, samples side by side, as its codes are, but the gradient has channels side by side.
// Block (x, y): 32 samples of a pixel, 32 kept channels, which it turns in shared memory.
struct QuantizeChannels {
  static constexpr int threads = 256, blocks = 4;
  static constexpr int tile = 32, stride = tile + 1, run = 4;
  struct Shared {
    SharedArray<float, tile * stride> values;
  };
  Quantizer q;
  int64_t sample_tiles, padded;  // samples, rounded up

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t pixel = t.block_x() / sample_tiles, first_sample = t.block_x() % sample_tiles * tile;
    const int64_t first_row = t.block_y() * tile, samples = q.gradient.samples;
    for (int i = t.index(); i < tile * tile; i += threads) {
      const int64_t n = first_sample + i / tile, row = first_row + i % tile;
      if (n < samples && row < q.kept_count) {
        s.values.store(t, i / tile * stride + i % tile, q.load(t, pixel, n, q.kept.load(t, row)));
      }
    }
    t.barrier();
    const int r = t.index() / (tile / run), begin = t.index() % (tile / run) * run;
    const int64_t row = first_row + r;
    if (row >= q.kept_count) return;
    const Mapping map = q.mapping(t, row);
    Uniform uniform = q.uniform(q.kept.load(t, row));
    for (int j = begin; j < begin + run && first_sample + j < padded; ++j) {
      const int64_t n = first_sample + j;
      uint8_t code = 0;
      if (n < samples) code = round_up_or_down(s.values.load(t, j * stride + r), uniform.number(pixel * samples + n), map, q.levels);
      q.codes.store(t, (pixel * q.kept_count + row) * padded + n, code);
    }
  }
};

}  // namespace

void hwnc_quantize_samples(const HwncQuantizeArguments& a, const Queue& queue) {
  if (a.kept_count == 0) return;
  const int64_t channels = a.gradient.of.channels, size = a.out_height * a.out_width * channels;
  const int64_t blocks = ceil_div(ceil_div(size, 4), QuantizeSamples::threads);
  const QuantizeSamples kernel{Quantizer(a, size, a.kept_count * size, queue), {a.alpha, channels}, blocks};
  launch(kernel, {a.kept_count * blocks}, queue);
}

void hwnc_quantize_channels(const HwncQuantizeArguments& a, const Queue& queue) {
  if (a.kept_count == 0) return;
  const int64_t samples = a.gradient.of.samples, pixels = a.out_height * a.out_width, padded = round_up(samples, 4);
  const int64_t tiles = ceil_div(samples, QuantizeChannels::tile);
  const QuantizeChannels kernel{Quantizer(a, pixels * samples, pixels * a.kept_count * padded, queue), tiles, padded};
  launch(kernel, {pixels * tiles, ceil_div(a.kept_count, QuantizeChannels::tile)}, queue);
}

}  // namespace fqt::cuda
