// How products in the layout H, W, N, C walk over their output.
//
// Outputs are cut into regions: rectangles of pixels in which the same taps lie inside the input, so that padding costs nothing
// and needs no test further in. The rows (line, column, sample) of a region, in this order, differ in nothing but where their
// input starts; kernels take as many of them at a time as suits them, be they samples of one pixel or, in small batches,
// pixels of one sample.
#pragma once

#include "support.h"

namespace fqt {
namespace {

// Outputs [begin, end) of an axis, for which the taps [tap_begin, tap_end) lie inside the input.
struct Run {
  int64_t begin, end, tap_begin, tap_end;

  int64_t count() const { return end - begin; }
  int64_t taps() const { return tap_end - tap_begin; }
};

// The runs of an axis, in order.
class Runs {
 public:
  Runs(const ConvShape& s, int axis)
      : data_(axis == 0 ? s.out_height : s.out_width) {
    const int64_t size = axis == 0 ? s.height : s.width, taps = axis == 0 ? s.kernel_height : s.kernel_width;
    for (int64_t o = 0; o < data_.count(); ++o) {
      const Interval inside = outputs_inside(o * s.stride[axis] - s.padding[axis], s.dilation[axis], size, taps);
      if (count_ > 0 && data_[count_ - 1].tap_begin == inside.begin && data_[count_ - 1].tap_end == inside.end) {
        ++data_[count_ - 1].end;
      } else {
        data_[count_++] = {o, o + 1, inside.begin, inside.end};
      }
    }
  }
  int64_t count() const { return count_; }
  const Run& operator[](int64_t i) const { return data_[i]; }

 private:
  Buffer<Run> data_;
  int64_t count_ = 0;
};

// Rows [first, first + count) of the region lines x columns.
struct Panel {
  Run lines, columns;
  int64_t first, count;

  int64_t taps() const { return lines.taps() * columns.taps(); }
};

// All rows of all regions, in panels of at most `most` rows.
class Panels {
 public:
  Panels(const ConvShape& s, int64_t most) : samples_(s.samples), most_(most), lines_(s, 0), columns_(s, 1) {
    for (int64_t i = 0; i < lines_.count() * columns_.count(); ++i) count_ += in_region(i);
  }
  int64_t count() const { return count_; }
  Panel operator[](int64_t i) const {
    int64_t region = 0;
    for (; i >= in_region(region); ++region) i -= in_region(region);
    const int64_t first = i * most_;
    return {lines_of(region), columns_of(region), first, smaller(most_, rows(region) - first)};
  }

 private:
  const Run& lines_of(int64_t region) const { return lines_[region / columns_.count()]; }
  const Run& columns_of(int64_t region) const { return columns_[region % columns_.count()]; }
  int64_t rows(int64_t region) const { return lines_of(region).count() * columns_of(region).count() * samples_; }
  int64_t in_region(int64_t region) const { return ceil_div(rows(region), most_); }

  int64_t samples_, most_;
  Runs lines_, columns_;
  int64_t count_ = 0;
};

// Calls use(i, input row of the first tap inside, output row) for the rows i = 0, 1, ... of a panel; without taps inside,
// there is no such input row.
template <typename Use>
inline void for_each_row(const ConvShape& s, const Panel& panel, Use use) {
  const int64_t samples = s.samples, count = panel.count, columns = panel.columns.count();
  int64_t n = panel.first % samples, column = panel.first / samples % columns, line = panel.first / samples / columns;
  for (int64_t i = 0; i < count; ++line, column = 0) {
    const int64_t oh = panel.lines.begin + line;
    const int64_t h = oh * s.stride[0] - s.padding[0] + panel.lines.tap_begin * s.dilation[0];
    for (; i < count && column < columns; ++column, n = 0) {
      const int64_t ow = panel.columns.begin + column;
      const int64_t w = ow * s.stride[1] - s.padding[1] + panel.columns.tap_begin * s.dilation[1];
      const int64_t x_row = (h * s.width + w) * samples, y_row = (oh * s.out_width + ow) * samples;
      for (; i < count && n < samples; ++n, ++i) use(i, x_row + n, y_row + n);
    }
  }
}

// Sums and sums of squares of the rows of one thread, with room for whole vectors of outputs.
class Moments {
 public:
  explicit Moments(int64_t room) : room_(room), data_(2 * room) {}
  int64_t* sum() const { return data_.get(); }
  int64_t* square() const { return data_.get() + room_; }
  // Adds those of `count` outputs to the results that all threads share. They are integers: the threads' order does not show.
  void merge(int64_t count, int64_t* sums, int64_t* squares) const {
    for (int64_t d = 0; d < count; ++d) {
      __atomic_fetch_add(sums + d, sum()[d], __ATOMIC_RELAXED);
      __atomic_fetch_add(squares + d, square()[d], __ATOMIC_RELAXED);
    }
  }

 private:
  int64_t room_;
  Buffer<int64_t> data_;
};

inline void clear(int64_t* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = 0;
}

}  // namespace
}  // namespace fqt
