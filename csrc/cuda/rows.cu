// Samples that are there among all of them (fqt_core/ops/hwnc/products.py).
#include "rows.h"

#include "../cpu/support.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

struct FindPlaces {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const int64_t> index;
  GlobalArray<int32_t> places;
  int64_t present, samples;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t n = t.block_x() * threads + t.index();
    if (n < samples) places.store(t, n, static_cast<int32_t>(find(t, index, present, n)));
  }
};

struct AddRows {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<float> target;
  GlobalArray<const float> rows;
  GlobalArray<const int64_t> index;
  int64_t samples, kept, channels, count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    const int64_t c = i % channels, pixel = i / channels / kept, n = index.load(t, i / channels % kept);
    const int64_t at = (pixel * samples + n) * channels + c;
    target.store(t, at, target.load(t, at) + rows.load(t, i));
  }
};

}  // namespace

GlobalArray<const int32_t> find_places(const int64_t* index, int64_t present, int64_t samples, const Queue& queue) {
  auto* places = queue.scratch<int32_t>(samples);
  launch(FindPlaces{{index, present}, {places, samples}, present, samples}, {ceil_div(samples, FindPlaces::threads)}, queue);
  return {places, samples};
}

void hwnc_add_rows(const AddRowsArguments& a, const Queue& queue) {
  const int64_t count = a.pixels * a.kept * a.channels;
  const AddRows kernel{{a.target, a.pixels * a.samples * a.channels}, {a.rows, count}, {a.index, a.kept}, a.samples, a.kept,
                       a.channels, count};
  launch(kernel, {ceil_div(count, AddRows::threads)}, queue);
}

}  // namespace fqt::cuda
