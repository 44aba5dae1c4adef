// One bit times one bit: K - 2 * popcount(x XOR w), over the taps that lie inside the input.
//
// The innermost loop takes a block of 4 rows by 16 outputs (2 vectors of 8 words). An even number of words per tap is taken in
// pairs (a, b): a full adder of bits keeps the sum in a register, and only its carries are counted, one popcount for two words.
//
//     ones' = ones ^ a ^ b,   carry = a == ones ? a : ~ones'            with a = x0 ^ w0, a ^ b = (x0 ^ x1) ^ (w0 ^ w1)
//
// Since the second word of each pair is stored as the XOR of both, ones' is one instruction and the carry two: a pair costs
// five with popcount and addition, where counting each word costs six. (An adder for an odd word would use up the gain.)
#include "hwnc_forward_panels.h"

namespace fqt {
namespace {

constexpr int64_t tasks_wanted = 64;
constexpr int64_t products_per_number = 512;  // in the time that `parallel` counts in

// What the innermost loops run over: the taps inside, line by line.
struct Walk {
  int64_t lines, words;  // words of a line
  int64_t step;          // between lines of packed weights

  Walk(const ConvShape& s, const Layout& l, const Panel& panel)
      : lines(panel.lines.taps()),
        words(panel.columns.taps() * l.words),
        step(s.kernel_width * l.words * outputs) {}
};

inline __m512i broadcast(const uint64_t* x) { return _mm512_set1_epi64(static_cast<int64_t>(*x)); }
inline __m512i load(const uint64_t* w) { return _mm512_load_si512(w); }

// Numbers of differing bits of one row and two vectors of outputs, word by word.
class PlainRow {
 public:
  void add(const uint64_t* x, __m512i w_left, __m512i w_right) {
    const __m512i v = broadcast(x);
    left_ = _mm512_add_epi64(left_, _mm512_popcnt_epi64(_mm512_xor_si512(v, w_left)));
    right_ = _mm512_add_epi64(right_, _mm512_popcnt_epi64(_mm512_xor_si512(v, w_right)));
  }
  __m512i left() const { return left_; }
  __m512i right() const { return right_; }

 private:
  __m512i left_ = _mm512_setzero_si512(), right_ = _mm512_setzero_si512();
};

struct PlainBlock {
  PlainRow r0, r1, r2, r3;  // named, so that they stay in registers

  template <int64_t count>
  void add(const uint64_t* x, const uint64_t* weight, const Walk& walk) {
    for (int64_t line = 0; line < walk.lines; ++line, weight += walk.step) {
      const uint64_t* w = weight;
      for (int64_t i = 0; i < walk.words; ++i, x += rows, w += outputs) {
        const __m512i left = load(w), right = load(w + lanes);
        r0.add(x + 0, left, right);
        if (count > 1) r1.add(x + 1, left, right);
        if (count > 2) r2.add(x + 2, left, right);
        if (count > 3) r3.add(x + 3, left, right);
      }
    }
  }
};

// The same pair by pair, of one vector.
class Counter {
 public:
  void add(__m512i x, __m512i x_both, __m512i w, __m512i w_both) {
    const __m512i a = _mm512_xor_si512(x, w);
    const __m512i sum = _mm512_ternarylogic_epi64(ones_, x_both, w_both, 0x96);  // XOR of three
    const __m512i carry = _mm512_ternarylogic_epi64(a, ones_, sum, 0xD4);        // a == ones ? a : ~sum
    twos_ = _mm512_add_epi64(twos_, _mm512_popcnt_epi64(carry));
    ones_ = sum;
  }
  __m512i total() const { return _mm512_add_epi64(_mm512_add_epi64(twos_, twos_), _mm512_popcnt_epi64(ones_)); }

 private:
  __m512i ones_ = _mm512_setzero_si512(), twos_ = _mm512_setzero_si512();
};

class PairedRow {
 public:
  void add(const uint64_t* x, __m512i w_left, __m512i w_right, __m512i both_left, __m512i both_right) {
    const __m512i v = broadcast(x), both = broadcast(x + rows);
    left_.add(v, both, w_left, both_left);
    right_.add(v, both, w_right, both_right);
  }
  __m512i left() const { return left_.total(); }
  __m512i right() const { return right_.total(); }

 private:
  Counter left_, right_;
};

struct PairedBlock {
  PairedRow r0, r1, r2, r3;

  template <int64_t count>
  void add(const uint64_t* x, const uint64_t* weight, const Walk& walk) {
    for (int64_t line = 0; line < walk.lines; ++line, weight += walk.step) {
      const uint64_t* w = weight;
      for (int64_t i = 0; i < walk.words; i += 2, x += 2 * rows, w += 2 * outputs) {
        const __m512i left = load(w), right = load(w + lanes);
        const __m512i both_left = load(w + outputs), both_right = load(w + outputs + lanes);
        r0.add(x + 0, left, right, both_left, both_right);
        if (count > 1) r1.add(x + 1, left, right, both_left, both_right);
        if (count > 2) r2.add(x + 2, left, right, both_left, both_right);
        if (count > 3) r3.add(x + 3, left, right, both_left, both_right);
      }
    }
  }
};

// The integers of two rows, of `terms` products each, for the sink: products less twice the differing bits, in 16-bit lanes.
template <typename Row>
inline __m512i integers(const Row& even, const Row& odd, __m512i terms) {
  const __m512i left = _mm512_or_si512(even.left(), _mm512_slli_epi64(odd.left(), 16));
  const __m512i right = _mm512_or_si512(even.right(), _mm512_slli_epi64(odd.right(), 16));
  const __m512i bits = _mm512_or_si512(left, _mm512_slli_epi64(right, 32));
  return _mm512_sub_epi16(terms, _mm512_slli_epi16(bits, 1));
}

// Scratch of one thread.
struct Scratch {
  Buffer<uint64_t> x;
  int64_t y_rows[most_rows];
  Moments moments;

  explicit Scratch(const Layout& l)
      : x(l.panel_rows() * l.taps * l.words, Contents::any), moments(l.blocks * outputs) {}
};

// One panel of rows and the blocks [begin, end) of outputs.
template <typename Block>
void product(const HwncConvArguments& a, const Layout& l, const Panel& panel, const uint64_t* weight, int64_t begin,
             int64_t end, Scratch& scratch) {
  const ConvShape& s = a.shape;
  const Walk walk(s, l, panel);
  const int64_t first_tap = panel.lines.tap_begin * s.kernel_width + panel.columns.tap_begin;
  const int64_t x_step = panel.taps() * l.words * rows;
  const __m512i terms = _mm512_set1_epi16(static_cast<int16_t>(panel.taps() * s.channels));
  gather(a, l, panel, scratch.x.get(), scratch.y_rows);
  for (int64_t block = begin; block < end; ++block) {
    const uint64_t* w = weight + (block * l.taps + first_tap) * l.words * outputs;
    const uint64_t* x = scratch.x.get();
    Sink sink(a, l.taps * s.channels, block, scratch.moments);
    for (int64_t first = 0; first < panel.count; first += rows, x += x_step) {
      const int64_t count = panel.count - first;
      Block sums;
      if (count >= rows) {
        sums.template add<rows>(x, w, walk);
      } else if (count >= 2) {
        sums.template add<3>(x, w, walk);
      } else {
        sums.template add<1>(x, w, walk);
      }
      const int64_t* y_rows = scratch.y_rows + first;
      sink.take(integers(sums.r0, sums.r1, terms), y_rows, smaller(2, count));
      if (count > 2) sink.take(integers(sums.r2, sums.r3, terms), y_rows + 2, smaller(2, count - 2));
    }
    sink.widen();
  }
}

}  // namespace

namespace avx512 {

void hwnc_binary_conv2d(const HwncConvArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Buffer<uint64_t> weight(l.blocks * l.taps * l.words * outputs, Contents::any);
  pack_weights(a.weight, s, l, threads, weight.get());
  clear(a.sum, s.outputs);
  clear(a.square, s.outputs);
  // Few panels are cut along the outputs too, so that there is work for all threads.
  const Panels panels(s, l.panel_rows());
  const int64_t parts = larger(1, smaller(l.blocks / 4, tasks_wanted / larger(1, panels.count())));
  const int64_t work = l.panel_rows() * l.taps * s.channels * ceil_div(s.outputs, parts);
  parallel(threads, panels.count() * parts, work / products_per_number, [&](int64_t first, int64_t last) {
    Scratch scratch(l);
    for (int64_t i = first; i < last;) {
      // All parts of a panel that are this thread's at once, so that its input is gathered once.
      const int64_t part = i % parts, next = smaller(last, i - part + parts);
      const int64_t begin = part * l.blocks / parts, end = (part + next - i) * l.blocks / parts;
      const Panel panel = panels[i / parts];
      i = next;
      if (l.paired) {
        product<PairedBlock>(a, l, panel, weight.get(), begin, end, scratch);
      } else {
        product<PlainBlock>(a, l, panel, weight.get(), begin, end, scratch);
      }
    }
    scratch.moments.merge(s.outputs, a.sum, a.square);
  });
}

}  // namespace avx512
}  // namespace fqt
