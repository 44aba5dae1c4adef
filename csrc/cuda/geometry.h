// A convolution's shape in the 32-bit numbers that GPUs count with, and the maps between places that its products share.
#pragma once

#include <stdexcept>

#include "../cpu/support.h"
#include "device.h"

namespace fqt::cuda {

struct Axis {
  int size, out, kernel, stride, padding, dilation;

  // Input position of a tap of an output, perhaps outside.
  FQT_HOST_DEVICE int input(int output, int tap) const { return output * stride - padding + tap * dilation; }
  // The output whose tap lands on an input position, or -1.
  FQT_HOST_DEVICE int output(int input, int tap) const {
    const int offset = input + padding - tap * dilation;
    if (offset < 0 || offset % stride != 0) return -1;
    return offset / stride < out ? offset / stride : -1;
  }
  FQT_HOST_DEVICE bool inside(int position) const { return position >= 0 && position < size; }
  // The taps of an output that lie inside: [begin, end).
  FQT_HOST_DEVICE int first_tap(int output) const {
    const int before = padding - output * stride;  // pixels of padding in front of the output's first tap
    const int begin = before <= 0 ? 0 : (before + dilation - 1) / dilation;
    return begin < kernel ? begin : kernel;
  }
  FQT_HOST_DEVICE int end_tap(int output) const {
    const int room = size + padding - output * stride;  // pixels from the first tap to the end of the input
    const int end = room <= 0 ? 0 : (room + dilation - 1) / dilation;
    return end < kernel ? end : kernel;
  }
};

struct Geometry {
  Axis y, x;
  int samples, channels, outputs, groups;

  explicit Geometry(const ConvShape& s)
      : y{axis(s.height, s.out_height, s.kernel_height, s.stride[0], s.padding[0], s.dilation[0])},
        x{axis(s.width, s.out_width, s.kernel_width, s.stride[1], s.padding[1], s.dilation[1])},
        samples(number(s.samples)), channels(number(s.channels)), outputs(number(s.outputs)), groups(number(s.groups)) {}

  FQT_HOST_DEVICE int group_channels() const { return channels / groups; }
  FQT_HOST_DEVICE int group_outputs() const { return outputs / groups; }
  FQT_HOST_DEVICE int taps() const { return y.kernel * x.kernel; }
  FQT_HOST_DEVICE int64_t pixels() const { return static_cast<int64_t>(y.size) * x.size; }
  FQT_HOST_DEVICE int64_t out_pixels() const { return static_cast<int64_t>(y.out) * x.out; }
  // Places of its input and of its output.
  template <typename Order>
  FQT_HOST_DEVICE Order inputs() const {
    return Order(samples, y.size, x.size);
  }
  template <typename Order>
  FQT_HOST_DEVICE Order results() const {
    return Order(samples, y.out, x.out);
  }

 private:
  static int number(int64_t value) {
    if (value < 0 || value > most) throw std::runtime_error("a size of this convolution is too large for CUDA kernels");
    return static_cast<int>(value);
  }
  static Axis axis(int64_t size, int64_t out, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    // What an axis counts in stays below twice its padded size.
    number(size + 2 * padding);
    return {number(size),
            number(out),
            number(kernel),
            static_cast<int>(smaller(stride, most)),  // beyond the input, one is like another
            number(padding),
            static_cast<int>(smaller(dilation, most))};
  }
  static constexpr int64_t most = int64_t{1} << 24;
};

struct Pixel {
  int n, y, x;
};

// Samples of lines of columns, which are numbered sample by sample, or pixel by pixel as in chains.
struct Places {
  int samples, lines, columns;

  FQT_HOST_DEVICE int64_t count() const { return pixels() * samples; }
  FQT_HOST_DEVICE int64_t pixels() const { return static_cast<int64_t>(lines) * columns; }
};

// Where the channels of a place are: channel c at first + c * stride.
struct ChannelRun {
  int64_t first, stride;
};

// Arrays (samples, channels, lines, columns), and places (samples, lines, columns).
struct BySample : Places {
  FQT_HOST_DEVICE BySample(int samples_, int lines_, int columns_) : Places{samples_, lines_, columns_} {}
  FQT_HOST_DEVICE Pixel pixel(int64_t i) const {
    return {static_cast<int>(i / columns / lines), static_cast<int>(i / columns % lines), static_cast<int>(i % columns)};
  }
  FQT_HOST_DEVICE int64_t number(int n, int y, int x) const { return (static_cast<int64_t>(n) * lines + y) * columns + x; }
  FQT_HOST_DEVICE ChannelRun run(int64_t i, int channels) const {
    return {i / pixels() * channels * pixels() + i % pixels(), pixels()};
  }
};

// Arrays (lines, columns, samples, channels), and places (lines, columns, samples).
struct ByPixel : Places {
  FQT_HOST_DEVICE ByPixel(int samples_, int lines_, int columns_) : Places{samples_, lines_, columns_} {}
  FQT_HOST_DEVICE Pixel pixel(int64_t i) const {
    return {static_cast<int>(i % samples), static_cast<int>(i / samples / columns), static_cast<int>(i / samples % columns)};
  }
  FQT_HOST_DEVICE int64_t number(int n, int y, int x) const { return (static_cast<int64_t>(y) * columns + x) * samples + n; }
  FQT_HOST_DEVICE ChannelRun run(int64_t i, int channels) const { return {i * channels, 1}; }
};

constexpr int half_bits = 32;

// Channels of packed bits (places, ceil(channels / 64) words), by groups: 32 bits at a time, 0 past a group's last channel.
struct PackedChannels {
  GlobalArray<const uint32_t> halves;
  int per_place, per_group;  // halves of a place, channels of a group

  PackedChannels(const uint64_t* words, int64_t places, int64_t channels, int64_t groups)
      : halves(reinterpret_cast<const uint32_t*>(words), places * 2 * ceil_div(channels, 64)),
        per_place(static_cast<int>(2 * ceil_div(channels, 64))), per_group(static_cast<int>(channels / groups)) {}

  FQT_HOST_DEVICE int words() const { return (per_group + half_bits - 1) / half_bits; }
  FQT_DEVICE uint32_t load(const Thread& t, int64_t place, int group, int word) const {
    const int first = group * per_group + word * half_bits, shift = first % half_bits;
    const int count = per_group - word * half_bits;
    const int64_t at = place * per_place + first / half_bits;
    uint32_t bits = halves.load(t, at) >> shift;
    if (shift != 0 && shift + count > half_bits) bits |= halves.load(t, at + 1) << (half_bits - shift);
    return count >= half_bits ? bits : bits & ((1U << count) - 1);
  }
};

// Walks over the words of all taps, line by line.
struct TapWalk {
  int y = 0, x = 0, word = 0;

  FQT_HOST_DEVICE void advance(const Geometry& g, int words) {
    if (++word < words) return;
    word = 0;
    if (++x < g.x.kernel) return;
    x = 0;
    ++y;
  }
  FQT_HOST_DEVICE bool ended(const Geometry& g) const { return y >= g.y.kernel; }
};

}  // namespace fqt::cuda
