// Normalised values, and the next layer's bits (fqt_core/ops/hwnc/forward.py and entry.py). Each operation rounds by itself.
#include "bits.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

// Values that are kept, if they are.
struct Affine {
  GlobalArray<const float> a, b;
  GlobalArray<float> h;
  int64_t channels;

  FQT_DEVICE float of(const Thread& t, int64_t c, float x) const { return a.load(t, c) * x + b.load(t, c); }
  FQT_DEVICE float kept(const Thread& t, int64_t i, float value) const {
    if (h) h.store(t, i, value);
    return value;
  }
};

// With `add` h holds what is added to.
struct Integers {
  Affine affine;
  GlobalArray<const int16_t> y;
  bool add;

  FQT_DEVICE int64_t place(int64_t row) const { return row; }
  FQT_DEVICE float value(const Thread& t, int64_t row, int64_t c) const {
    const int64_t i = row * affine.channels + c;
    const float h = affine.of(t, c, static_cast<float>(y.load(t, i)));
    return affine.kept(t, i, add ? h + affine.h.load(t, i) : h);
  }
};

// (samples, pixels, channels) to rows of (pixel, sample), among those of all samples that there is room for.
struct Floats {
  Affine affine;
  GlobalArray<const float> x;
  int64_t samples, pixels, first, room;

  FQT_DEVICE int64_t place(int64_t row) const { return row / samples * room + first + row % samples; }
  FQT_DEVICE float value(const Thread& t, int64_t row, int64_t c) const {
    const int64_t from = row % samples * pixels + row / samples;
    return affine.kept(t, place(row) * affine.channels + c, affine.of(t, c, x.load(t, from * affine.channels + c)));
  }
};

}  // namespace

void hwnc_affine_sign(const AffineSignArguments& a, const Queue& queue) {
  const int64_t count = a.rows * a.channels;
  const Integers source{{{a.a, a.channels}, {a.b, a.channels}, {a.h, count}, a.channels}, {a.y, count}, a.add};
  pack_rows(source, a.sign, a.window, a.rows, a.rows, a.channels, queue);
}

void hwnc_enter(const EnterArguments& a, const Queue& queue) {
  const int64_t rows = a.samples * a.pixels, room = a.room * a.pixels;
  const Affine affine{{a.a, a.channels}, {a.b, a.channels}, {a.h, room * a.channels}, a.channels};
  const Floats source{affine, {a.x, rows * a.channels}, a.samples, a.pixels, a.first, a.room};
  pack_rows(source, a.sign, a.window, rows, room, a.channels, queue);
}

}  // namespace fqt::cuda
