// Codes of some channels' gradients, for dL/dW. A channel's elements are counted by pixel of the product, then sample, so rows
// of samples are transposed on their way: a tile is some windows side by side (pixels without pooling, 2x2 pixels of the
// product with it) and some samples.
#pragma once

#include "hwnc_gradient.h"
#include "rounding.h"

namespace fqt {
namespace {

constexpr int64_t tile_rows = 128;      // (window, sample) of a tile
constexpr int64_t tile_channels = 128;  // channels, kept or not, that are computed at once

struct Geometry {
  int64_t factor;            // pixels of the product along each side of a window
  int64_t lines, columns;    // windows that cover the product; those past y's pixels were left out by pooling
  int64_t windows, samples;  // in a tile: several windows only with all samples
  int64_t window_tiles, sample_tiles;

  explicit Geometry(const HwncQuantizeArguments& a) {
    factor = a.choice == nullptr ? 1 : 2;
    lines = ceil_div(a.out_height, factor);
    columns = ceil_div(a.out_width, factor);
    samples = smaller(a.gradient.of.samples, tile_rows);
    windows = samples < a.gradient.of.samples ? 1 : smaller(columns, tile_rows / samples);
    window_tiles = ceil_div(columns, windows);
    sample_tiles = ceil_div(a.gradient.of.samples, samples);
  }

  int64_t tiles() const { return lines * window_tiles * sample_tiles; }
};

// One tile: windows [column, column + windows) of a line and samples [sample, sample + samples).
struct Tile {
  int64_t line, column, windows, sample, samples;

  Tile(const Geometry& geometry, int64_t all_samples, int64_t number) {
    sample = number % geometry.sample_tiles * geometry.samples;
    samples = smaller(geometry.samples, all_samples - sample);
    number /= geometry.sample_tiles;
    column = number % geometry.window_tiles * geometry.windows;
    windows = smaller(geometry.windows, geometry.columns - column);
    line = number / geometry.window_tiles;
  }
};

// Values, and with pooling their places, of kept channels (outer) and rows (inner).
struct Transposed {
  float v[tile_channels][tile_rows];
  uint8_t choice[tile_channels][tile_rows];
};

// Kept channels begin .. end - 1 all lie in [first, first + tile_channels).
void transpose(const HwncQuantizeArguments& a, const GradientRows& rows, const Tile& tile, int64_t first, int64_t begin,
               int64_t end, Transposed& result) {
  const HwncGradient& of = a.gradient.of;
  const int64_t span = smaller(tile_channels, of.channels - first), kept = end - begin;
  float v[tile_channels];
  int64_t offset[tile_channels];
  for (int64_t i = 0; i < kept; ++i) offset[i] = a.kept[begin + i] - first;
  for (int64_t row = 0; row < tile.windows * tile.samples; ++row) {
    const int64_t column = tile.column + row / tile.samples, sample = tile.sample + row % tile.samples;
    if (tile.line >= of.height || column >= of.width) {
      for (int64_t i = 0; i < kept; ++i) {
        result.v[i][row] = 0.0F;
        result.choice[i][row] = 0;
      }
      continue;
    }
    const int64_t pixel = tile.line * of.width + column;
    normalize_run(a.gradient, rows.g(pixel, sample), rows.y(pixel, sample), first, span, v);
    for (int64_t i = 0; i < kept; ++i) result.v[i][row] = v[offset[i]];
    if (a.choice == nullptr) continue;
    const uint8_t* choice = a.choice + (pixel * of.samples + sample) * of.channels + first;
    for (int64_t i = 0; i < kept; ++i) result.choice[i][row] = choice[offset[i]];
  }
}

// What of a window's values is at one of its places.
inline void select(const float* __restrict v, const uint8_t* __restrict choice, uint8_t place, int64_t count,
                   float* __restrict result) {
  for (int64_t i = 0; i < count; ++i) result[i] = choice[i] == place ? v[i] : 0.0F;
}

// The codes of one kept channel in a tile. Pixels side by side have their numbers side by side if the tile has all samples, so
// they are rounded in one run, which matters for small batches.
void quantize(const HwncQuantizeArguments& a, const Geometry& geometry, const PhiloxKey& key, const Tile& tile, int64_t row,
              const float* v, const uint8_t* choice) {
  const int64_t factor = geometry.factor, samples = a.gradient.of.samples, padded = round_up(samples, 4);
  const int64_t start = a.kept[row] * ceil_div(a.out_height * a.out_width * samples, 4);
  const int64_t first_column = tile.column * factor;
  const int64_t columns = smaller(tile.windows * factor, a.out_width - first_column);
  const int64_t together = tile.samples == samples ? columns : 1;  // columns in a run
  const float levels = static_cast<float>(a.levels);
  const Mapping map(a.lo[row], a.hi[row], levels);
  float buffer[uniform_room(2 * tile_rows)], selected[2 * tile_rows];
  uint8_t codes[2 * tile_rows];
  for (int64_t i = 0; i < smaller(factor, a.out_height - tile.line * factor); ++i) {
    const int64_t first_pixel = (tile.line * factor + i) * a.out_width + first_column;
    for (int64_t j = 0; j < columns; j += together) {
      const float* values = v + j * tile.samples;
      if (choice != nullptr) {
        for (int64_t k = 0; k < together; ++k) {
          const int64_t window = (j + k) / 2 * tile.samples, place = i * 2 + (j + k) % 2;
          select(v + window, choice + window, static_cast<uint8_t>(place), tile.samples, selected + k * tile.samples);
        }
        values = selected;
      }
      const int64_t count = together * tile.samples, first = (first_pixel + j) * samples + tile.sample;
      const float* u = draw_uniform(key, start, first, count, buffer);
      const auto row_of_codes = [&](int64_t k) { return a.codes + ((first_pixel + j + k) * a.kept_count + row) * padded; };
      if (together == 1) {
        quantize_run(values, u, count, map, levels, row_of_codes(0) + tile.sample);
      } else {
        quantize_run(values, u, count, map, levels, codes);
        for (int64_t k = 0; k < together; ++k) {
          std::memcpy(row_of_codes(k), codes + k * samples, static_cast<size_t>(samples));
        }
      }
      for (int64_t k = 0; k < together; ++k) {
        for (int64_t n = samples; n < padded; ++n) row_of_codes(k)[n] = 0;
      }
    }
  }
}

inline void quantize_some_channels(const HwncQuantizeArguments& a, const Threads& threads) {
  const Geometry geometry(a);
  const GradientRows rows(a.gradient.of);
  const PhiloxKey key(a.key, a.step, a.layer, a.purpose);
  const int64_t bands = ceil_div(a.gradient.of.channels, tile_channels);
  // Rounding a number takes about as long as computing it, kept or not.
  const int64_t computed = geometry.windows * geometry.samples * smaller(tile_channels, a.gradient.of.channels);
  parallel(threads, geometry.tiles() * bands, 2 * computed, [&](int64_t from, int64_t to) {
    Transposed transposed;
    for (int64_t i = from; i < to; ++i) {
      const Tile tile(geometry, a.gradient.of.samples, i / bands);
      const int64_t first = i % bands * tile_channels;
      int64_t begin = 0;
      while (begin < a.kept_count && a.kept[begin] < first) ++begin;
      int64_t end = begin;
      while (end < a.kept_count && a.kept[end] < first + tile_channels) ++end;
      if (begin == end) continue;
      transpose(a, rows, tile, first, begin, end, transposed);
      for (int64_t row = begin; row < end; ++row) {
        quantize(a, geometry, key, tile, row, transposed.v[row - begin],
                 a.choice == nullptr ? nullptr : transposed.choice[row - begin]);
      }
    }
  });
}

}  // namespace
}  // namespace fqt
