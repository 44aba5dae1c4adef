// Which columns of a line can be computed as one matrix.
#pragma once

#include "../taps.h"

namespace fqt {
namespace {

// Whether the result of a product is the convolution's outputs (its operand the inputs), or the other way round.
enum class Result { outputs, inputs };

// One axis: for each position of the result, the taps that reach it and the positions of the operand that they read.
class Axis {
 public:
  struct Source {
    int64_t tap, at;
  };
  struct Sources {
    const Source* first;
    const Source* last;
    const Source* begin() const { return first; }
    const Source* end() const { return last; }
    int64_t size() const { return last - first; }
  };

  Axis(const ConvShape& s, int64_t axis, Result result)
      : result_(result),
        taps_(axis == 0 ? s.kernel_height : s.kernel_width),
        stride_(s.stride[axis]),
        inputs_(axis == 0 ? s.height : s.width),
        outputs_(axis == 0 ? s.out_height : s.out_width),
        sources_(size() * taps_),
        count_(size()),
        used_(operand_size()) {
    for (int64_t i = 0; i < size(); ++i) {
      int64_t least = operand_size(), greatest = -1;
      for (int64_t tap = 0; tap < taps_; ++tap) {
        const int64_t at = result == Result::outputs ? i * stride_ + tap * s.dilation[axis] - s.padding[axis]
                                                     : source_of(i, tap, axis, s, outputs_);
        if (at < 0 || at >= operand_size()) continue;
        sources_[i * taps_ + count_[i]++] = {tap, at};
        used_[at] = true;
        least = smaller(least, at);
        greatest = larger(greatest, at);
      }
      span_ = larger(span_, greatest - least + 1);
    }
  }

  int64_t size() const { return result_ == Result::outputs ? outputs_ : inputs_; }
  int64_t operand_size() const { return result_ == Result::outputs ? inputs_ : outputs_; }
  // By rising tap.
  Sources of(int64_t position) const {
    const Source* first = sources_.get() + position * taps_;
    return {first, first + count_[position]};
  }
  // Whether anything reads this position of the operand.
  bool used(int64_t at) const { return used_[at]; }
  // What one position of the result reads lies within this many positions.
  int64_t span() const { return span_; }

  // Positions of the result that may share their taps are `step` apart. The operand's positions have places in such an order
  // that what these read is one place apart.
  int64_t step() const { return result_ == Result::outputs ? 1 : stride_; }
  int64_t place(int64_t at) const { return result_ == Result::outputs ? at % stride_ * phase_size() + at / stride_ : at; }
  int64_t places() const { return result_ == Result::outputs ? stride_ * phase_size() : outputs_; }

 private:
  int64_t phase_size() const { return ceil_div(inputs_, stride_); }

  Result result_;
  int64_t taps_, stride_, inputs_, outputs_;
  Buffer<Source> sources_;  // [position][up to taps]
  Buffer<int64_t> count_;
  Buffer<bool> used_;
  int64_t span_ = 1;
};

// Columns first, first + step, ... of the result: they have the same taps, and what these read is one place apart. So the rows
// (column, sample) of a strip are evenly spaced rows of the operand, for each tap.
struct Strip {
  int64_t first, step, count;
};

class Strips {
 public:
  explicit Strips(const Axis& columns) : data_(columns.size()) {
    for (int64_t phase = 0; phase < columns.step(); ++phase) {
      for (int64_t i = phase; i < columns.size(); i += columns.step()) {
        if (i != phase && follows(columns, i)) {
          ++data_[count_ - 1].count;
        } else {
          data_[count_++] = {i, columns.step(), 1};
        }
      }
    }
  }
  const Strip* begin() const { return data_.get(); }
  const Strip* end() const { return data_.get() + count_; }

 private:
  static bool follows(const Axis& columns, int64_t column) {
    const Axis::Sources one = columns.of(column - columns.step()), other = columns.of(column);
    if (one.size() != other.size()) return false;
    for (int64_t i = 0; i < one.size(); ++i) {
      if (one.first[i].tap != other.first[i].tap) return false;
      if (columns.place(one.first[i].at) + 1 != columns.place(other.first[i].at)) return false;
    }
    return true;
  }

  Buffer<Strip> data_;
  int64_t count_ = 0;
};

}  // namespace
}  // namespace fqt
