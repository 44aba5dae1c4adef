// corr(q, Xb) for the kept output channels: for each tap, kept channel and input channel, a sum over pixels.
//
// Vector lanes are input channels c: the input's bits become byte masks [pixel][group][c], c padded to whole blocks. A code is
// spread over a vector beforehand ("splat"), and then serves all taps and input channels. Four kept channels and two vectors
// of input channels are summed together:
//
//     for each tap, pixel inside:   sums[d][c] += splat[d][output pixel] AND mask[input pixel][c]      4 x 32 products
#include "../kernels.h"
#include "masked_sums.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 16;  // in the time that `parallel` counts in
constexpr int64_t pixels_together = 1024;  // output pixels that are worth a pass

struct Layout {
  int64_t taps, channels, padded, pixels, out_pixels;  // channels: of one group

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        channels(s.channels / s.groups),
        padded(round_up(channels, columns)),
        pixels(s.height * s.width),
        out_pixels(s.out_height * s.out_width) {}
};

// For each tap, the pairs (output pixel, input pixel) that it joins, as offsets into splats and masks. Small images are taken
// several at a time, so that sums run over many pixels; pairs are ordered by image.
struct Pairs {
  int64_t images;
  Buffer<Pair> pairs;      // [tap][up to images * out_pixels]
  Buffer<int64_t> in_one;  // [tap], pairs of one image

  Pairs(const ConvShape& s, const Layout& l)
      : images(larger(1, smaller(s.samples, pixels_together / l.out_pixels))),
        pairs(l.taps * images * l.out_pixels),
        in_one(l.taps),
        most_(images * l.out_pixels) {
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t tap = kh * s.kernel_width + kw;
        int64_t count = 0;
        for (int64_t image = 0; image < images; ++image) {
          add_image(s, l, tap, kh * s.dilation[0] - s.padding[0], kw * s.dilation[1] - s.padding[1], image, count);
          if (image == 0) in_one[tap] = count;
        }
      }
    }
  }

  const Pair* of(int64_t tap) const { return pairs.get() + tap * most_; }

 private:
  void add_image(const ConvShape& s, const Layout& l, int64_t tap, int64_t dh, int64_t dw, int64_t image,
                 int64_t& count) {
    const Interval lines = outputs_inside(dh, s.stride[0], s.height, s.out_height);
    const Interval columns_inside = outputs_inside(dw, s.stride[1], s.width, s.out_width);
    for (int64_t oh = lines.begin; oh < lines.end; ++oh) {
      for (int64_t ow = columns_inside.begin; ow < columns_inside.end; ++ow) {
        const int64_t pixel = (oh * s.stride[0] + dh) * s.width + ow * s.stride[1] + dw;
        pairs[tap * most_ + count++] = {image * l.out_pixels + oh * s.out_width + ow,
                                        (image * l.pixels + pixel) * s.groups * l.padded};
      }
    }
  }

  int64_t most_;
};

void expand_input(const uint64_t* x, int64_t pixels, const ConvShape& s, const Layout& l, uint8_t* masks) {
  const int64_t words = ceil_div(s.channels, 64);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t g = 0; g < s.groups; ++g) {
      expand_channels(x + p * words, g * l.channels, l.channels, masks + (p * s.groups + g) * l.padded);
    }
  }
}

// Up to `rows` consecutive kept channels of one group of inputs.
struct Block {
  int64_t first, count, group;
};

class Worker {
 public:
  Worker(const WeightGradientArguments& a, const Layout& l, const Planes& planes, const Pairs& pairs)
      : a_(a),
        l_(l),
        planes_(planes),
        pairs_(pairs),
        masks_(pairs.images * l.pixels * a.shape.groups * l.padded),
        splats_(planes.count * pairs.images * l.out_pixels * rows * byte_lanes) {}

  // Takes up the images from `first` on.
  void load(int64_t first) {
    first_ = first;
    images_ = smaller(pairs_.images, a_.shape.samples - first);
    const uint64_t* x = a_.x + first * l_.pixels * ceil_div(a_.shape.channels, 64);
    expand_input(x, images_ * l_.pixels, a_.shape, l_, masks_.get());
  }

  // Adds the share of the images in hand to the sums of a block, [tap][row][padded channel].
  void add(const Block& b, int32_t* sums) {
    spread_block(b);
    for (int64_t tap = 0; tap < l_.taps; ++tap) {
      for (int64_t c = 0; c < l_.channels; c += columns) {
        for (int64_t plane = 0; plane < planes_.count; ++plane) {
          add_masked_sums(pairs_.of(tap), pairs_.in_one[tap] * images_, plane_splats(plane),
                          masks_.get() + b.group * l_.padded + c, planes_, plane, b.count, l_.padded,
                          sums + tap * rows * l_.padded + c);
        }
      }
    }
  }

 private:
  const uint8_t* codes(const Block& b, int64_t row) const {
    return a_.codes + ((b.first + row) * a_.shape.samples + first_) * l_.out_pixels;
  }

  // Codes of a block, spread over vectors: [plane][pixel][row][16].
  void spread_block(const Block& b) {
    const int64_t pixels = images_ * l_.out_pixels;
    for (int64_t r = 0; r < b.count; ++r) {
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        spread_codes(codes(b, r), pixels, planes_, plane, plane_splats(plane) + r * byte_lanes);
      }
    }
  }

  uint8_t* plane_splats(int64_t plane) const {
    return splats_.get() + plane * pairs_.images * l_.out_pixels * rows * byte_lanes;
  }

  const WeightGradientArguments& a_;
  const Layout& l_;
  const Planes& planes_;
  const Pairs& pairs_;
  Buffer<uint8_t> masks_;
  Buffer<uint8_t> splats_;
  int64_t first_ = 0, images_ = 0;
};

// result[row][c][tap] = 2 * sums[tap][row][c] - the sum of the codes that the tap meets.
void finish(const WeightGradientArguments& a, const Layout& l, const Pairs& pairs, const Block& b, const int32_t* sums) {
  for (int64_t r = 0; r < b.count; ++r) {
    const uint8_t* codes = a.codes + (b.first + r) * a.shape.samples * l.out_pixels;
    for (int64_t tap = 0; tap < l.taps; ++tap) {
      int32_t total = 0;
      for (int64_t n = 0; n < a.shape.samples; ++n) {
        const uint8_t* image = codes + n * l.out_pixels;
        for (int64_t i = 0; i < pairs.in_one[tap]; ++i) total += image[pairs.of(tap)[i].splat];
      }
      int32_t* out = a.result + (b.first + r) * l.channels * l.taps + tap;
      const int32_t* in = sums + (tap * rows + r) * l.padded;
      for (int64_t c = 0; c < l.channels; ++c) out[c * l.taps] = static_cast<int32_t>(int64_t{2} * in[c] - total);
    }
  }
}

}  // namespace

namespace portable {

void conv2d_weight_gradient(const WeightGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Planes planes(a.codes, a.kept * s.samples * l.out_pixels);
  const Pairs pairs(s, l);
  const Buffer<Block> blocks(a.kept);
  int64_t count = 0;
  for (int64_t i = 0; i < a.kept; ++i) {
    const int64_t group = a.index[i] / (s.outputs / s.groups);
    if (count > 0 && blocks[count - 1].count < rows && blocks[count - 1].group == group) {
      ++blocks[count - 1].count;
    } else {
      blocks[count++] = {i, 1, group};
    }
  }
  parallel_products(threads, count, products_of(s, s.samples, a.kept), products_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, l, planes, pairs);
    const int64_t block_size = l.taps * rows * l.padded;
    const Buffer<int32_t> sums((end - begin) * block_size);
    for (int64_t n = 0; n < s.samples; n += pairs.images) {
      worker.load(n);
      for (int64_t b = begin; b < end; ++b) worker.add(blocks[b], sums.get() + (b - begin) * block_size);
    }
    for (int64_t b = begin; b < end; ++b) finish(a, l, pairs, blocks[b], sums.get() + (b - begin) * block_size);
  });
}

}  // namespace portable
}  // namespace fqt
