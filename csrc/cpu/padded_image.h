// Rows of an image and its padding, less the origin of each channel, and a plane of ones:
//
//     [channel, and one more][row][column]
//
// There each input of an output is as far from the output's place as it is for all others.
#pragma once

#include "support.h"

namespace fqt {
namespace {

class PaddedImage {
 public:
  // What `rows` rows of outputs are made from.
  PaddedImage(const ConvShape& shape, int64_t rows)
      : shape_(shape),
        height_((rows - 1) * shape.stride[0] + (shape.kernel_height - 1) * shape.dilation[0] + 1),
        width_((shape.out_width - 1) * shape.stride[1] + (shape.kernel_width - 1) * shape.dilation[1] + 1),
        inputs_(shape.channels * shape.kernel_height * shape.kernel_width + 1),
        input_(inputs_, Contents::any),
        output_(rows * shape.out_width, Contents::any) {
    for (int64_t i = 0; i < inputs_; ++i) {
      const int64_t tap = i % (shape.kernel_height * shape.kernel_width);
      const int64_t row = tap / shape.kernel_width * shape.dilation[0], column = tap % shape.kernel_width * shape.dilation[1];
      input_[i] = (i / (shape.kernel_height * shape.kernel_width) * height_ + row) * width_ + column;
    }
    for (int64_t p = 0; p < output_.count(); ++p) {
      output_[p] = p / shape.out_width * shape.stride[0] * width_ + p % shape.out_width * shape.stride[1];
    }
  }

  // Floats that it takes.
  int64_t size() const { return (shape_.channels + 1) * height_ * width_; }
  // Inputs of an output, with the 1 that is the last.
  int64_t inputs() const { return inputs_; }
  // Input i of output p, counted from the first row that is there, is at input()[i] + output()[p].
  const int64_t* input() const { return input_.get(); }
  const int64_t* output() const { return output_.get(); }

  // image (channels, height, width), from output row `first` on; without origin if it is null.
  void load(const float* image, const float* origin, int64_t first, float* to) const {
    const int64_t top = first * shape_.stride[0] - shape_.padding[0], left = smaller(width_, shape_.padding[1]);
    const int64_t count = smaller(shape_.width, width_ - left), right = width_ - left - count;
    for (int64_t c = 0; c < shape_.channels; ++c, image += shape_.height * shape_.width) {
      const float from = origin == nullptr ? 0.0F : origin[c], outside = 0.0F - from;
      for (int64_t y = top; y < top + height_; ++y) {
        if (y < 0 || y >= shape_.height) {
          to = fill(outside, width_, to);
          continue;
        }
        to = fill(outside, left, to);
        const float* row = image + y * shape_.width;
        for (int64_t x = 0; x < count; ++x) to[x] = row[x] - from;
        to = fill(outside, right, to + count);
      }
    }
    fill(1.0F, height_ * width_, to);
  }

 private:
  static float* fill(float value, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = value;
    return to + count;
  }

  ConvShape shape_;
  int64_t height_, width_, inputs_;
  Buffer<int64_t> input_, output_;
};

}  // namespace
}  // namespace fqt
