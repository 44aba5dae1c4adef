// Products whose result is an image, line by line: outputs from inputs, or gradients of inputs from those of outputs.
//
// Lines of the operand are bytes for as long as lines of the result need them: [chunk of 64 terms][place of a column][row][64],
// its rows being samples. They serve all taps and columns of weights. The weights' tiles serve all lines.
//
// A line is computed by groups of weights that stay in the second cache; for each of them by blocks of 32 rows (column, sample)
// of a strip; for each of these by blocks of columns. So the operand of a block stays close, and its results are finished
// together.
#pragma once

#include "block.h"
#include "strips.h"

namespace fqt {
namespace {

constexpr int64_t lines_room = 1 << 20;      // bytes of operand lines: half of the second cache
constexpr int64_t weights_room = 512 << 10;  // bytes of weights that are taken together
constexpr int64_t tasks_wanted = 64;
constexpr int64_t products_per_number = 512;  // of bytes, in the time that `parallel` counts in
constexpr int64_t signs_per_number = 8;       // that become bytes

// The right operands of a product, [pair of tiles][tap][chunk of 64 terms]. The pairs are even in number; nobody looks at sums
// of columns past the last, so tiles of such columns alone may hold anything.
class RightTiles {
 public:
  RightTiles(int64_t columns, int64_t taps, int64_t terms)
      : groups_(ceil_div(columns, group_columns)),
        taps_(taps),
        chunks_(ceil_div(terms, step_terms)),
        data_(2 * groups_ * pair_size(), Contents::any) {}

  int64_t groups() const { return groups_; }  // of 64 columns
  int64_t taps() const { return taps_; }
  int64_t chunks() const { return chunks_; }
  int64_t pair_size() const { return taps_ * chunks_ * pair_bytes; }
  int64_t offset(int64_t tap, int64_t chunk) const { return (tap * chunks_ + chunk) * pair_bytes; }
  int8_t* pair(int64_t i) const { return data_.get() + i * pair_size(); }

 private:
  int64_t groups_, taps_, chunks_;
  Buffer<int8_t> data_;
};

// How the work is cut: rows of the operand are taken `together`, and lines of the result one by one.
struct Walk {
  Axis lines, columns;
  Strips strips;
  int64_t rows, together, blocks;
  int64_t chunks, result_columns, kernel_width;

  Walk(const ConvShape& s, Result result, int64_t rows_)
      : lines(s, 0, result),
        columns(s, 1, result),
        strips(columns),
        rows(rows_),
        chunks(ceil_div(result == Result::outputs ? s.channels : s.outputs, step_terms)),
        result_columns(result == Result::outputs ? s.outputs : s.channels),
        kernel_width(s.kernel_width) {
    const int64_t of_row = lines.span() * chunks * columns.places() * step_terms;
    const int64_t room = larger(1, lines_room / larger(1, of_row));
    const int64_t most = room > Square::rows ? room / Square::rows * Square::rows : room;
    const int64_t even = larger(1, ceil_div(rows, larger(1, ceil_div(rows, most))));
    together = even > Square::rows ? round_up(even, Square::rows) : even;
    blocks = ceil_div(rows, together);
  }

  // The last block of a strip may read rows that are not its own.
  int64_t chunk_bytes() const { return (columns.places() * together + Square::rows) * step_terms; }
  int64_t line_bytes() const { return chunks * chunk_bytes(); }
};

// Up to 32 rows of a strip.
struct RowsOfStrip {
  int64_t line;
  const Strip& strip;
  int64_t first_row, rows;  // of the operand, which are taken together
  int64_t begin, count;     // rows (column, row of the operand) of the strip

  // Calls use(i, column, row of the operand) for i = 0, 1, ..., count - 1.
  template <typename Use>
  void for_each(Use use) const {
    int64_t column = strip.first + begin / rows * strip.step, row = begin % rows;
    for (int64_t i = 0; i < count; column += strip.step, row = 0) {
      for (; i < count && row < rows; ++i, ++row) use(i, column, first_row + row);
    }
  }
};

// One thread's work. A Kernel has
//     static constexpr Bytes bytes                                       what the operand's bytes are
//     void expand(line, column, first row, rows, chunk_bytes, out)       writes these rows of the operand: 64 bytes per chunk
//     void begin(const RowsOfStrip&)                                     these rows of the result come next
//     void store(first column, columns, sums)                            their sums of some columns, sums_stride apart
template <typename Kernel>
class LineWorker {
 public:
  LineWorker(const Walk& walk, const RightTiles& weights, Kernel& kernel)
      : walk_(walk),
        weights_(weights),
        kernel_(kernel),
        operand_(walk.lines.span() * walk.line_bytes(), Contents::any),
        line_in_slot_(walk.lines.span()),
        steps_(weights.taps() * weights.chunks(), Contents::any),
        sums_(Square::rows * sums_stride, Contents::any) {}

  // The groups [begin, end) of 64 columns of one line, for one block of rows.
  void compute(int64_t block, int64_t line, int64_t begin, int64_t end) {
    if (block != block_) start(block);
    for (const Axis::Source& source : walk_.lines.of(line)) load(source.at);
    const int64_t at_once = larger(1, weights_room / larger(1, 2 * weights_.pair_size()));
    for (; begin < end; begin += at_once) {
      for (const Strip& strip : walk_.strips) compute_strip(line, strip, begin, smaller(end, begin + at_once));
    }
  }

 private:
  void start(int64_t block) {
    block_ = block;
    first_row_ = block * walk_.together;
    rows_ = smaller(walk_.together, walk_.rows - first_row_);
    for (int64_t slot = 0; slot < walk_.lines.span(); ++slot) line_in_slot_[slot] = -1;
  }

  int64_t slot_of(int64_t line) const { return line % walk_.lines.span(); }

  // A line of the operand, unless it is there.
  void load(int64_t line) {
    if (line_in_slot_[slot_of(line)] == line) return;
    line_in_slot_[slot_of(line)] = line;
    uint8_t* out = operand_.get() + slot_of(line) * walk_.line_bytes();
    for (int64_t column = 0; column < walk_.columns.operand_size(); ++column) {
      if (!walk_.columns.used(column)) continue;
      uint8_t* place = out + walk_.columns.place(column) * rows_ * step_terms;
      kernel_.expand(line, column, first_row_, rows_, walk_.chunk_bytes(), place);
    }
  }

  int64_t find_steps(int64_t line, const Strip& strip) {
    int64_t count = 0;
    for (const Axis::Source& vertical : walk_.lines.of(line)) {
      for (const Axis::Source& horizontal : walk_.columns.of(strip.first)) {
        const int64_t tap = vertical.tap * walk_.kernel_width + horizontal.tap;
        const int64_t place = walk_.columns.place(horizontal.at) * rows_ * step_terms;
        for (int64_t chunk = 0; chunk < walk_.chunks; ++chunk) {
          const int64_t left = slot_of(vertical.at) * walk_.line_bytes() + chunk * walk_.chunk_bytes() + place;
          steps_[count++] = {left, weights_.offset(tap, chunk)};
        }
      }
    }
    return count;
  }

  void compute_strip(int64_t line, const Strip& strip, int64_t begin, int64_t end) {
    const int64_t steps = find_steps(line, strip), rows = strip.count * rows_;
    for (int64_t row = 0; row < rows;) {
      const int64_t left = rows - row;
      kernel_.begin(RowsOfStrip{line, strip, first_row_, rows_, row, smaller(left, Square::rows)});
      if (left > Flat::rows) {
        compute_rows<Square>(row, steps, begin, end);
        row += Square::rows;
      } else {
        compute_rows<Flat>(row, steps, begin, end);
        row += Flat::rows;
      }
    }
  }

  template <typename Block>
  void compute_rows(int64_t row, int64_t steps, int64_t begin, int64_t end) {
    const int64_t last = smaller(end * group_columns, walk_.result_columns);
    for (int64_t column = begin * group_columns; column < last; column += Block::columns) {
      const int8_t* weights = weights_.pair(column / Square::columns);
      Block::clear();
      const Operands operands{operand_.get() + row * step_terms, weights, weights_.pair_size()};
      Block::template add<Kernel::bytes>(operands, steps_.get(), steps);
      Block::store(sums_.get());
      kernel_.store(column, smaller(Block::columns, last - column), sums_.get());
    }
  }

  const Walk& walk_;
  const RightTiles& weights_;
  Kernel& kernel_;
  Buffer<uint8_t> operand_;  // [slot: line modulo span]
  Buffer<int64_t> line_in_slot_;
  Buffer<Step> steps_;
  Buffer<int32_t> sums_;
  int64_t block_ = -1, first_row_ = 0, rows_ = 0;
};

// All lines of the result. make() is the kernel of a thread; finish(kernel) is called when that has done its part.
template <typename Make, typename Finish>
inline void compute_lines(const Walk& walk, const RightTiles& weights, const Threads& threads, Make make, Finish finish) {
  // Few lines are cut along the columns of weights too, so that there is work for all threads.
  const int64_t lines = walk.blocks * walk.lines.size();
  const int64_t parts = larger(1, smaller(weights.groups(), tasks_wanted / larger(1, lines)));
  const int64_t work = walk.together * walk.columns.size() * weights.taps() * weights.chunks() * step_terms *
                       ceil_div(walk.result_columns, parts);
  parallel(threads, lines * parts, work / products_per_number, [&](int64_t first, int64_t last) {
    const Tiles tiles;
    auto kernel = make();
    LineWorker<decltype(kernel)> worker(walk, weights, kernel);
    for (int64_t i = first; i < last; ++i) {
      const int64_t part = i % parts, line = i / parts;
      const int64_t begin = part * weights.groups() / parts, end = (part + 1) * weights.groups() / parts;
      worker.compute(line / walk.lines.size(), line % walk.lines.size(), begin, end);
    }
    finish(kernel);
  });
}

}  // namespace
}  // namespace fqt
