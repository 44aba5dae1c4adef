// Signs and windows to bits and back; the layout is that of fqt_core/ops/packing.py.
#include "bits.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

// A thread packs 64 channels of a pixel. Neighbours take neighbouring pixels, so each load is of a whole line.
struct Pack {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const float> x;
  GlobalArray<uint64_t> sign, window;
  int64_t samples, channels, pixels, words;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= samples * words * pixels) return;
    const int64_t p = i % pixels, w = i / pixels % words, n = i / pixels / words;
    const int64_t count = smaller(word_bits, channels - w * word_bits), first = (n * channels + w * word_bits) * pixels + p;
    uint64_t signs = 0, inside = 0;
    for (int64_t c = 0; c < count; ++c) {
      const float v = x.load(t, first + c * pixels);
      signs |= static_cast<uint64_t>(is_positive(v)) << c;
      inside |= static_cast<uint64_t>(is_inside(v)) << c;
    }
    const int64_t at = (n * pixels + p) * words + w;
    sign.store(t, at, signs);
    if (window) window.store(t, at, inside);
  }
};

// Single pixels: their channels lie side by side.
struct Rows {
  GlobalArray<const float> x;
  int64_t channels;

  FQT_DEVICE int64_t place(int64_t row) const { return row; }
  FQT_DEVICE float value(const Thread& t, int64_t row, int64_t c) const { return x.load(t, row * channels + c); }
};

void pack(const PackArguments& a, const Queue& queue) {
  const int64_t words = ceil_div(a.channels, word_bits), count = a.samples * a.pixels * words;
  if (a.pixels == 1) {
    pack_rows(Rows{{a.x, a.samples * a.channels}, a.channels}, a.sign, a.window, a.samples, a.samples, a.channels, queue);
    return;
  }
  const Pack kernel{{a.x, a.samples * a.channels * a.pixels}, {a.sign, count}, {a.window, count},
                    a.samples, a.channels, a.pixels, words};
  launch(kernel, {ceil_div(count, Pack::threads)}, queue);
}

// An element of (samples, channels, pixels), and its bit.
struct Place {
  int64_t word;
  int bit;

  FQT_HOST_DEVICE Place(int64_t i, int64_t channels, int64_t pixels) {
    const int64_t p = i % pixels, c = i / pixels % channels, n = i / pixels / channels;
    word = (n * pixels + p) * ceil_div(channels, word_bits) + c / word_bits;
    bit = static_cast<int>(c % word_bits);
  }
};

struct Unpack {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const uint64_t> words;
  GlobalArray<float> signs;
  int64_t count, channels, pixels;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    const Place place(i, channels, pixels);
    signs.store(t, i, (words.load(t, place.word) >> place.bit & 1) != 0 ? 1.0F : -1.0F);
  }
};

struct Window {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const float> gradient;
  GlobalArray<const uint64_t> window;
  GlobalArray<float> result;
  int64_t count, channels, pixels;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    const Place place(i, channels, pixels);
    const bool inside = (window.load(t, place.word) >> place.bit & 1) != 0;
    result.store(t, i, inside ? gradient.load(t, i) : 0.0F);
  }
};

}  // namespace

void pack_sign(const PackArguments& a, const Queue& queue) { pack(a, queue); }
void pack_sign_window(const PackArguments& a, const Queue& queue) { pack(a, queue); }

void unpack_sign(const UnpackArguments& a, const Queue& queue) {
  const int64_t count = a.samples * a.channels * a.pixels;
  const Unpack kernel{{a.words, a.samples * a.pixels * ceil_div(a.channels, word_bits)}, {a.signs, count},
                      count, a.channels, a.pixels};
  launch(kernel, {ceil_div(count, Unpack::threads)}, queue);
}

void apply_window(const WindowArguments& a, const Queue& queue) {
  const int64_t count = a.samples * a.channels * a.pixels;
  const Window kernel{{a.gradient, count}, {a.window, a.samples * a.pixels * ceil_div(a.channels, word_bits)},
                      {a.result, count}, count, a.channels, a.pixels};
  launch(kernel, {ceil_div(count, Window::threads)}, queue);
}

}  // namespace fqt::cuda
