// The greatest of each 2x2 window (fqt_core/ops/hwnc/forward.py).
#include "../cpu/support.h"
#include "channel_moments.h"
#include "device.h"
#include "kernels.h"

namespace fqt::cuda {
namespace {

struct MaxPool {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const int16_t> y;
  GlobalArray<const uint8_t> flip;
  GlobalArray<int16_t> pooled;
  GlobalArray<uint8_t> choice;
  int64_t width, samples, channels, count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    const int64_t c = i % channels, n = i / channels % samples, pixel = i / channels / samples;
    const int64_t corner = pixel / (width / 2) * 2 * width + pixel % (width / 2) * 2;
    const int32_t sign = flip.load(t, c) != 0 ? -1 : 1;
    int32_t best = 0;
    uint8_t place = 0;
FQT_UNROLL
    for (int j = 0; j < 4; ++j) {
      // In 16 bits, as the reference: -(-32768) is itself.
      const int32_t v = static_cast<int16_t>(sign * y.load(t, ((corner + j / 2 * width + j % 2) * samples + n) * channels + c));
      if (j > 0 && v <= best) continue;
      best = v;
      place = static_cast<uint8_t>(j);
    }
    pooled.store(t, i, static_cast<int16_t>(sign * best));
    choice.store(t, i, place);
  }
};

}  // namespace

void hwnc_max_pool2d(const HwncPoolArguments& a, const Queue& queue) {
  const int64_t rows = a.height / 2 * (a.width / 2) * a.samples, count = rows * a.channels;
  const MaxPool kernel{{a.y, a.height * a.width * a.samples * a.channels}, {a.flip, a.channels}, {a.pooled, count},
                       {a.choice, count}, a.width, a.samples, a.channels, count};
  launch(kernel, {ceil_div(count, MaxPool::threads)}, queue);
  channel_moments(a.pooled, rows, a.channels, a.sum, a.square, queue);
}

}  // namespace fqt::cuda
