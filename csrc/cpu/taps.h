// Which outputs of a convolution reach each position of an input axis, and by which taps.
#pragma once

#include "support.h"

namespace fqt {
namespace {

// The output position whose tap lands on input position `at`, or -1.
inline int64_t source_of(int64_t at, int64_t tap, int64_t axis, const ConvShape& s, int64_t out_size) {
  const int64_t offset = at + s.padding[axis] - tap * s.dilation[axis];
  if (offset < 0 || offset % s.stride[axis] != 0) return -1;
  const int64_t position = offset / s.stride[axis];
  return position < out_size ? position : -1;
}

// Positions with the same taps are of one kind: borders, the inside, and by turns with a stride.
class AxisTaps {
 public:
  struct Source {
    int64_t tap, output;
  };
  struct Sources {
    const Source* first;
    const Source* last;
    const Source* begin() const { return first; }
    const Source* end() const { return last; }
    int64_t size() const { return last - first; }
  };

  AxisTaps(const ConvShape& s, int64_t axis)
      : taps_(axis == 0 ? s.kernel_height : s.kernel_width),
        span_((taps_ - 1) * s.dilation[axis] / s.stride[axis] + 1),
        sources_((axis == 0 ? s.height : s.width) * taps_),
        count_(axis == 0 ? s.height : s.width),
        kind_(count_.count()),
        example_(count_.count()) {
    for (int64_t at = 0; at < count_.count(); ++at) {
      for (int64_t tap = 0; tap < taps_; ++tap) {
        const int64_t output = source_of(at, tap, axis, s, axis == 0 ? s.out_height : s.out_width);
        if (output >= 0) sources_[at * taps_ + count_[at]++] = {tap, output};
      }
      while (kind_[at] < kinds_ && !same_taps(example_[kind_[at]], at)) ++kind_[at];
      if (kind_[at] == kinds_) example_[kinds_++] = at;
    }
  }

  // By rising tap.
  Sources of(int64_t at) const {
    const Source* first = sources_.get() + at * taps_;
    return {first, first + count_[at]};
  }
  // The outputs of a position lie less than this apart.
  int64_t span() const { return span_; }
  int64_t kind(int64_t at) const { return kind_[at]; }
  int64_t kinds() const { return kinds_; }
  // A position of a kind.
  int64_t example(int64_t kind) const { return example_[kind]; }

 private:
  bool same_taps(int64_t one, int64_t other) const {
    if (count_[one] != count_[other]) return false;
    for (int64_t i = 0; i < count_[one]; ++i) {
      if (sources_[one * taps_ + i].tap != sources_[other * taps_ + i].tap) return false;
    }
    return true;
  }

  int64_t taps_, span_;
  Buffer<Source> sources_;  // [position][up to taps]
  Buffer<int64_t> count_;
  Buffer<int64_t> kind_;
  Buffer<int64_t> example_;  // [kind]
  int64_t kinds_ = 0;
};

}  // namespace
}  // namespace fqt
