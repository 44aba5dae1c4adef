// The greatest of each 2x2 window; channels are the lanes.
#include "../hwnc_product.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 64;              // channels whose sums are kept at hand
constexpr int64_t rows_per_sum = 1 << 15;  // of 16-bit numbers, or of 16-bit halves of squares: their sums fit 32 bits

// Sums of one chunk of channels. Squares are added in two halves of 16 bits, so that all lanes stay 32 bits wide.
struct Sums {
  int32_t sum[chunk];
  uint32_t low[chunk], high[chunk];

  void clear() { std::memset(this, 0, sizeof(*this)); }
  void add_to(int64_t* sums, int64_t* squares, int64_t count) const {
    for (int64_t c = 0; c < count; ++c) {
      sums[c] += sum[c];
      squares[c] += (int64_t{high[c]} << 16) + low[c];
    }
  }
};

// y if f is 0, -y if f is -1, in 16 bits.
inline int16_t flipped(int16_t y, int16_t f) { return static_cast<int16_t>((y ^ f) - f); }

// Four rows of up to `chunk` channels, in the order of choice. No two of the pointers reach the same memory.
inline void pool(const int16_t* y0, const int16_t* y1, const int16_t* y2, const int16_t* y3, const int16_t* flip,
                 int64_t count, int16_t* pooled, uint8_t* choice, Sums& sums) {
#pragma GCC ivdep
  for (int64_t c = 0; c < count; ++c) {
    const int16_t f = flip[c];
    const int16_t v0 = flipped(y0[c], f), v1 = flipped(y1[c], f), v2 = flipped(y2[c], f), v3 = flipped(y3[c], f);
    const int16_t upper = v1 > v0 ? v1 : v0, lower = v3 > v2 ? v3 : v2;
    const int16_t in_upper = v1 > v0 ? 1 : 0, in_lower = v3 > v2 ? 3 : 2;
    pooled[c] = flipped(lower > upper ? lower : upper, f);
    choice[c] = static_cast<uint8_t>(lower > upper ? in_lower : in_upper);
  }
#pragma GCC ivdep
  for (int64_t c = 0; c < count; ++c) {
    const int32_t v = pooled[c];
    const uint32_t square = static_cast<uint32_t>(v * v);
    sums.sum[c] += v;
    sums.low[c] += square & 0xFFFF;
    sums.high[c] += square >> 16;
  }
}

}  // namespace

namespace FQT_ISA {

void hwnc_max_pool2d(const HwncPoolArguments& a, const Threads& threads) {
  const int64_t out_width = a.width / 2, pixels = a.height / 2 * out_width, channels = a.channels;
  const Buffer<int16_t> flip(channels);
  for (int64_t c = 0; c < channels; ++c) flip[c] = a.flip[c] != 0 ? -1 : 0;
  clear(a.sum, channels);
  clear(a.square, channels);
  // Rows are all samples of all pixels.
  parallel(threads, pixels * a.samples, 4 * channels, [&](int64_t begin, int64_t end) {
    const Moments moments(channels);
    Sums sums;
    for (int64_t from = begin; from < end; from += rows_per_sum) {
      for (int64_t first = 0; first < channels; first += chunk) {
        const int64_t count = smaller(chunk, channels - first);
        sums.clear();
        for (int64_t row = from; row < smaller(end, from + rows_per_sum); ++row) {
          const int64_t pixel = row / a.samples, n = row % a.samples;
          const int64_t corner = pixel / out_width * 2 * a.width + pixel % out_width * 2;
          const int16_t* y[4];
          for (int64_t place = 0; place < 4; ++place) {
            y[place] = a.y + ((corner + place / 2 * a.width + place % 2) * a.samples + n) * channels + first;
          }
          const int64_t at = row * channels + first;
          pool(y[0], y[1], y[2], y[3], flip.get() + first, count, a.pooled + at, a.choice + at, sums);
        }
        sums.add_to(moments.sum() + first, moments.square() + first, count);
      }
    }
    moments.merge(channels, a.sum, a.square);
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
