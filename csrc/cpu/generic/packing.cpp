// Signs and windows to bits and back. Words hold channels, arrays hold pixels side by side, so packing is a transposition:
// for each pixel of a tile, 32 channels at a time are or-ed into a 32-bit half word, which compilers turn into vector code.
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t tile = 256;

// half[p] gets bit c set if test(x[c * pixels + p]), for c < channels <= 32 and p < count.
template <typename Test>
inline void pack_half(const float* x, int64_t channels, int64_t pixels, int64_t count, uint32_t* half, Test test) {
  for (int64_t p = 0; p < count; ++p) half[p] = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const float* row = x + c * pixels;
    const uint32_t bit = uint32_t{1} << c;
    for (int64_t p = 0; p < count; ++p) half[p] |= test(row[p]) ? bit : 0;
  }
}

template <typename Test>
inline void pack_row(const float* x, int64_t channels, uint64_t* words, Test test) {
  for (int64_t first = 0; first < channels; first += 64) {
    uint64_t word = 0;
    const int64_t count = smaller(64, channels - first);
    for (int64_t c = 0; c < count; ++c) word |= static_cast<uint64_t>(test(x[first + c])) << c;
    words[first / 64] = word;
  }
}

template <typename Test>
void pack(const PackArguments& a, uint64_t* result, const Threads& threads, Test test) {
  const int64_t words = ceil_div(a.channels, 64);
  if (a.pixels == 1) {
    parallel(threads, a.samples, a.channels, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) pack_row(a.x + n * a.channels, a.channels, result + n * words, test);
    });
    return;
  }
  const int64_t tiles = ceil_div(a.pixels, tile);
  parallel(threads, a.samples * tiles, smaller(tile, a.pixels) * a.channels, [&](int64_t begin, int64_t end) {
    uint32_t low[tile], high[tile];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / tiles, first = i % tiles * tile;
      const int64_t count = smaller(tile, a.pixels - first);
      const float* x = a.x + n * a.channels * a.pixels + first;
      uint64_t* out = result + (n * a.pixels + first) * words;
      for (int64_t w = 0; w < words; ++w) {
        const int64_t channels = smaller(64, a.channels - w * 64);
        const float* block = x + w * 64 * a.pixels;
        pack_half(block, smaller(32, channels), a.pixels, count, low, test);
        pack_half(block + 32 * a.pixels, larger(0, channels - 32), a.pixels, count, high, test);
        for (int64_t p = 0; p < count; ++p) out[p * words + w] = low[p] | static_cast<uint64_t>(high[p]) << 32;
      }
    }
  });
}

// Calls use(first element, count, half, bit) for every channel of every tile: bit `bit` of half[p] is that of pixel p.
template <typename Use>
void for_each_channel(const uint64_t* packed, int64_t samples, int64_t channels, int64_t pixels, const Threads& threads,
                      Use use) {
  const int64_t words = ceil_div(channels, 64), tiles = ceil_div(pixels, tile);
  parallel(threads, samples * tiles, smaller(tile, pixels) * channels, [&](int64_t begin, int64_t end) {
    uint32_t half[tile];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / tiles, first = i % tiles * tile;
      const int64_t count = smaller(tile, pixels - first);
      const uint64_t* in = packed + (n * pixels + first) * words;
      for (int64_t c = 0; c < channels; ++c) {
        if (c % 32 == 0) {
          for (int64_t p = 0; p < count; ++p) half[p] = static_cast<uint32_t>(in[p * words + c / 64] >> (c % 64));
        }
        use((n * channels + c) * pixels + first, count, half, c % 32);
      }
    }
  });
}

inline bool is_positive(float x) { return x >= 0.0F; }
inline bool is_inside(float x) { return x < 1.0F && x > -1.0F; }

}  // namespace

namespace FQT_ISA {

void pack_sign(const PackArguments& a, const Threads& threads) {
  pack(a, a.sign, threads, [](float x) { return is_positive(x); });
}

void pack_sign_window(const PackArguments& a, const Threads& threads) {
  pack(a, a.sign, threads, [](float x) { return is_positive(x); });
  pack(a, a.window, threads, [](float x) { return is_inside(x); });
}

void unpack_sign(const UnpackArguments& a, const Threads& threads) {
  for_each_channel(a.words, a.samples, a.channels, a.pixels, threads,
                   [&](int64_t at, int64_t count, const uint32_t* half, int64_t bit) {
                     float* out = a.signs + at;
                     for (int64_t p = 0; p < count; ++p) {
                       out[p] = static_cast<float>(static_cast<int32_t>(half[p] >> bit & 1) * 2 - 1);
                     }
                   });
}

void apply_window(const WindowArguments& a, const Threads& threads) {
  for_each_channel(a.window, a.samples, a.channels, a.pixels, threads,
                   [&](int64_t at, int64_t count, const uint32_t* half, int64_t bit) {
                     const float* in = a.gradient + at;
                     float* out = a.result + at;
                     for (int64_t p = 0; p < count; ++p) {
                       uint32_t v;
                       std::memcpy(&v, in + p, sizeof(v));
                       v &= -(half[p] >> bit & 1);  // all bits of the float, or +0
                       std::memcpy(out + p, &v, sizeof(v));
                     }
                   });
}

}  // namespace FQT_ISA
}  // namespace fqt
