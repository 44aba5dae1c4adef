// Stochastic rounding of gathered groups (fqt_core/ops/rounding.py): each float32 operation is one of the reference's, in its order.
#include "device.h"
#include "kernels.h"
#include "random.h"
#include "rounding.h"

namespace fqt::cuda {
namespace {

struct Quantizer {
  GlobalArray<const float> g;
  GlobalArray<const int64_t> index;
  GlobalArray<const float> lo, hi;
  GlobalArray<uint8_t> codes;
  PhiloxKey key;
  int64_t samples, channels, pixels, size;
  float levels;

  explicit Quantizer(const QuantizeArguments& a)
      : g(a.g.data, a.g.samples * a.g.channels * a.g.pixels), index(a.index, a.kept), lo(a.lo, a.kept), hi(a.hi, a.kept),
        codes(a.codes, a.kept * group_size(a.g)), key{a.key[0], a.key[1], a.step, a.layer, a.purpose},
        samples(a.g.samples), channels(a.g.channels), pixels(a.g.pixels), size(group_size(a.g)),
        levels(static_cast<float>(a.levels)) {}

  FQT_DEVICE Mapping mapping(const Thread& t, int64_t row) const { return {lo.load(t, row), hi.load(t, row), levels}; }
  FQT_DEVICE Uniform uniform(int64_t group) const { return {key, group * ceil_div(size, 4)}; }
};

// Samples: codes lie pixel by pixel, the gradient channel by channel. A block takes a tile of both, and turns it in shared memory.
struct QuantizeSamples {
  static constexpr int threads = 256, blocks = 4;
  static constexpr int tile_pixels = 32, tile_channels = 64, stride = tile_pixels + 1, run = 4;
  struct Shared {
    SharedArray<float, tile_channels * stride> tile;
  };
  Quantizer q;
  int64_t channel_tiles, pixel_tiles;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t row = t.block_x() / (channel_tiles * pixel_tiles), group = q.index.load(t, row);
    const int64_t first_channel = t.block_x() % channel_tiles * tile_channels;
    const int64_t first_pixel = t.block_x() / channel_tiles % pixel_tiles * tile_pixels;
    const auto columns = static_cast<int>(smaller(tile_pixels, q.pixels - first_pixel));
    const auto lines = static_cast<int>(smaller(tile_channels, q.channels - first_channel));
    for (int i = t.index(); i < tile_channels * tile_pixels; i += threads) {
      const int c = i / tile_pixels, p = i % tile_pixels;
      if (c >= lines || p >= columns) continue;
      s.tile.store(t, c * stride + p, q.g.load(t, (group * q.channels + first_channel + c) * q.pixels + first_pixel + p));
    }
    t.barrier();
    const Mapping map = q.mapping(t, row);
    Uniform uniform = q.uniform(group);
    for (int i = t.index(); i < tile_channels * tile_pixels / run; i += threads) {
      const int p = i / (tile_channels / run), begin = i % (tile_channels / run) * run;
      if (p >= columns) continue;
      const int64_t element = (first_pixel + p) * q.channels + first_channel;
      for (int c = begin; c < smaller(begin + run, lines); ++c) {
        const float x = s.tile.load(t, c * stride + p);
        q.codes.store(t, row * q.size + element + c, round_up_or_down(x, uniform.number(element + c), map, q.levels));
      }
    }
  }
};

// Channels: both lie sample by sample, then pixel by pixel. A thread takes the elements of one block of random numbers.
struct QuantizeChannels {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  Quantizer q;
  int64_t blocks_per_row;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t row = t.block_x() / blocks_per_row, group = q.index.load(t, row);
    const int64_t begin = (t.block_x() % blocks_per_row * threads + t.index()) * 4;
    const Mapping map = q.mapping(t, row);
    Uniform uniform = q.uniform(group);
    for (int64_t i = begin; i < smaller(begin + 4, q.size); ++i) {
      const float x = q.g.load(t, (i / q.pixels * q.channels + group) * q.pixels + i % q.pixels);
      q.codes.store(t, row * q.size + i, round_up_or_down(x, uniform.number(i), map, q.levels));
    }
  }
};

}  // namespace

void quantize_groups(const QuantizeArguments& a, const Queue& queue) {
  const Quantizer q(a);
  if (a.g.dim == 0) {
    const int64_t channel_tiles = ceil_div(q.channels, QuantizeSamples::tile_channels);
    const int64_t pixel_tiles = ceil_div(q.pixels, QuantizeSamples::tile_pixels);
    launch(QuantizeSamples{q, channel_tiles, pixel_tiles}, {a.kept * channel_tiles * pixel_tiles}, queue);
  } else {
    const int64_t blocks = ceil_div(ceil_div(q.size, 4), QuantizeChannels::threads);
    launch(QuantizeChannels{q, blocks}, {a.kept * blocks}, queue);
  }
}

}  // namespace fqt::cuda
