// Rows of a gradient that is there for some samples only (pixels, present, channels), and what batch normalisation makes of them.
#pragma once

#include "../cpu/hwnc_arguments.h"
#include "device.h"

namespace fqt::cuda {

// For each of `samples` samples its place among the present ones, which `index` lists, rising; -1 for the others. In scratch memory.
GlobalArray<const int32_t> find_places(const int64_t* index, int64_t present, int64_t samples, const Queue& queue);

// Where `wanted` is in an array of `count` rising numbers, or -1.
FQT_DEVICE int64_t find(const Thread& t, const GlobalArray<const int64_t>& rising, int64_t count, int64_t wanted) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (rising.load(t, middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && rising.load(t, low) == wanted ? low : -1;
}

struct PresentRows {
  GlobalArray<const float> g;
  GlobalArray<const int32_t> places;
  int64_t present, channels;

  PresentRows(const float* rows, const int64_t* index, int64_t present_, int64_t pixels, int64_t samples, int64_t channels_,
              const Queue& queue)
      : g(rows, pixels * present_ * channels_), places(find_places(index, present_, samples, queue)), present(present_),
        channels(channels_) {}

  // 0 for samples that are not there.
  FQT_DEVICE float load(const Thread& t, int64_t pixel, int64_t sample, int64_t c) const {
    const int32_t place = places.load(t, sample);
    return place < 0 ? 0.0F : g.load(t, (pixel * present + place) * channels + c);
  }
};

// v = (c · g - a1 · y) - a0 at (pixel, sample, channel).
struct BlockGradient {
  PresentRows rows;
  GlobalArray<const int16_t> y;
  GlobalArray<const float> c, a0, a1;
  int64_t height, width, samples, channels;

  BlockGradient(const NormGradient& a, const Queue& queue)
      : rows(a.of.g, a.of.index, a.of.present, a.of.height * a.of.width, a.of.samples, a.of.channels, queue),
        y(a.of.y, a.of.height * a.of.width * a.of.samples * a.of.channels), c(a.c, a.of.channels), a0(a.a0, a.of.channels),
        a1(a.a1, a.of.channels), height(a.of.height), width(a.of.width), samples(a.of.samples), channels(a.of.channels) {}

  FQT_HOST_DEVICE int64_t pixels() const { return height * width; }
  FQT_HOST_DEVICE int64_t element(int64_t pixel, int64_t sample, int64_t d) const { return (pixel * samples + sample) * channels + d; }
  FQT_DEVICE float load(const Thread& t, int64_t pixel, int64_t sample, int64_t d) const {
    const auto integer = static_cast<float>(y.load(t, element(pixel, sample, d)));
    return (c.load(t, d) * rows.load(t, pixel, sample, d) - a1.load(t, d) * integer) - a0.load(t, d);
  }
};

}  // namespace fqt::cuda
