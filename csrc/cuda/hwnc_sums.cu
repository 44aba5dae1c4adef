// Sums of a gradient and of a chain's input over their rows (fqt_core/ops/hwnc/gradient.py and entry.py), and what leaves a chain.
#include "kernels.h"
#include "ordered_sums.h"
#include "rows.h"

namespace fqt::cuda {
namespace {

// Rows of (pixel, present sample); what the gradient belongs to is at (pixel, sample) or (sample, pixel).
template <typename Value>
struct Products {
  GlobalArray<const float> g, center;
  GlobalArray<const int64_t> index;
  GlobalArray<const Value> values;
  int64_t present, of_pixel, of_sample, channels;  // how far apart rows of values are

  FQT_DEVICE Terms terms(const Thread& t, int64_t row, int64_t c) const {
    const int64_t at = row / present * of_pixel + index.load(t, row % present) * of_sample;
    const float value = g.load(t, row * channels + c);
    return {value, value * (static_cast<float>(values.load(t, at * channels + c)) - center.load(t, c))};
  }
};

struct FromOrigin {
  GlobalArray<const float> x;
  int64_t channels;

  FQT_DEVICE Terms terms(const Thread& t, int64_t row, int64_t c) const {
    const float value = x.load(t, row * channels + c) - x.load(t, c);
    return {value, value * value};
  }
};

// The last addition makes a zero +0.
struct Leave {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  PresentRows rows;
  GlobalArray<const float> x, c, a0, a1;
  GlobalArray<float> result;
  int64_t pixels, channels, count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    const int64_t channel = i % channels, pixel = i / channels % pixels, n = i / channels / pixels;
    const float value = c.load(t, channel) * rows.load(t, pixel, n, channel) - a1.load(t, channel) * x.load(t, i);
    result.store(t, i, (value - a0.load(t, channel)) + 0.0F);
  }
};

}  // namespace

void hwnc_gradient_sums(const GradientSumsArguments& a, const Queue& queue) {
  const HwncGradient& of = a.gradient;
  const int64_t pixels = of.height * of.width, rows = pixels * of.present;
  const Products<int16_t> source{{of.g, rows * of.channels}, {a.center, of.channels}, {of.index, of.present},
                                 {of.y, pixels * of.samples * of.channels}, of.present, of.samples, 1, of.channels};
  ordered_sums(source, rows, of.channels, a.first, a.second, queue);
}

void hwnc_entry_sums(const EntrySumsArguments& a, const Queue& queue) {
  const EntryGradient& of = a.entry;
  const int64_t rows = of.pixels * of.present;
  const Products<float> source{{of.g, rows * of.channels}, {a.center, of.channels}, {of.index, of.present},
                               {of.x, of.samples * of.pixels * of.channels}, of.present, 1, of.pixels, of.channels};
  ordered_sums(source, rows, of.channels, a.first, a.second, queue);
}

void hwnc_entry_moments(const EntryMomentsArguments& a, const Queue& queue) {
  ordered_sums(FromOrigin{{a.x, a.rows * a.channels}, a.channels}, a.rows, a.channels, a.first, a.second, queue);
}

void hwnc_leave(const LeaveArguments& a, const Queue& queue) {
  const EntryGradient& of = a.entry;
  const int64_t count = of.samples * of.pixels * of.channels;
  const PresentRows rows(of.g, of.index, of.present, of.pixels, of.samples, of.channels, queue);
  const Leave kernel{rows, {of.x, count}, {a.c, of.channels}, {a.a0, of.channels}, {a.a1, of.channels}, {a.result, count},
                     of.pixels, of.channels, count};
  launch(kernel, {ceil_div(count, Leave::threads)}, queue);
}

}  // namespace fqt::cuda
