// Activation gradient pruning: which groups are kept. The arithmetic is in integers; fqt_core/ops/selection.py specifies it. There
// are as many groups as samples or channels, so one block does it all.
#include <cmath>

#include "../cpu/support.h"
#include "device.h"
#include "kernels.h"
#include "random.h"
#include "reduce.h"

namespace fqt::cuda {
namespace {

constexpr int threads_of_selection = 256;
constexpr int uniform_bits = 24;

struct Larger {
  FQT_HOST_DEVICE double operator()(double a, double b) const { return b > a ? b : a; }
};
struct Sum {
  FQT_HOST_DEVICE int64_t operator()(int64_t a, int64_t b) const { return a + b; }
};

struct Ranges {
  GlobalArray<const float> lo, hi;
  int64_t groups;

  FQT_DEVICE double extent(const Thread& t, int64_t i) const {
    const double high = hi.load(t, i), low = lo.load(t, i);
    return (high > 0.0 ? high : 0.0) - (low < 0.0 ? low : 0.0);
  }
};

// Chosen groups, in rising order; at most one more for each thread at a time.
struct Chosen {
  GlobalArray<int64_t> index;
  GlobalArray<float> factor;

  template <typename Room>
  FQT_DEVICE void append(const Thread& t, Room& room, bool chosen, int64_t group, float factor_of_it, int64_t& count) const {
    const Prefix<int64_t> place = prefix_sum<threads_of_selection>(t, room, int64_t{chosen ? 1 : 0});
    if (chosen) {
      index.store(t, count + place.before, group);
      factor.store(t, count + place.before, factor_of_it);
    }
    count += place.total;
  }
};

struct KeepAll {
  static constexpr int threads = threads_of_selection, blocks = 1;
  using Shared = NoShared;
  Chosen chosen;
  GlobalArray<int64_t> count;
  int64_t groups;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    for (int64_t i = t.index(); i < groups; i += threads) {
      chosen.index.store(t, i, i);
      chosen.factor.store(t, i, 1.0F);
    }
    if (t.index() == 0) count.store(t, 0, groups);
  }
};

// Finds the kept-th greatest magnitude byte by byte: for numbers that are not negative, bits are in the order of values.
struct KeepLargest {
  static constexpr int threads = threads_of_selection, blocks = 1;
  static constexpr int bins = 256;
  struct Shared {
    BlockRoom<int64_t, threads> room;
    SharedArray<int, bins> histogram;
    SharedArray<int, 2> found;  // the bin, and how many are in those above it
  };
  Ranges ranges;
  Chosen chosen;
  GlobalArray<int64_t> count;
  int64_t kept;

  FQT_DEVICE uint32_t magnitude(const Thread& t, int64_t i) const {
    const float low = fabsf(ranges.lo.load(t, i)), high = fabsf(ranges.hi.load(t, i));
    return float_bits(low > high ? low : high);
  }

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    uint32_t least = 0;             // of the chosen ones, as far as it is known
    auto wanted = static_cast<int>(kept);  // among those that agree with it so far
    for (int shift = 24; shift >= 0; shift -= 8) {
      s.histogram.store(t, t.index(), 0);
      t.barrier();
      for (int64_t i = t.index(); i < ranges.groups; i += threads) {
        const uint32_t bits = magnitude(t, i);
        if (shift == 24 || bits >> (shift + 8) == least >> (shift + 8)) s.histogram.add(t, static_cast<int>(bits >> shift & 255), 1);
      }
      t.barrier();
      if (t.index() == 0) {
        int bin = bins - 1, above = 0;
        while (above + s.histogram.load(t, bin) < wanted) above += s.histogram.load(t, bin--);
        s.found.store(t, 0, bin);
        s.found.store(t, 1, above);
      }
      t.barrier();
      least |= static_cast<uint32_t>(s.found.load(t, 0)) << shift;
      wanted -= s.found.load(t, 1);
      t.barrier();
    }
    int64_t done = 0, equal = 0;  // of those that equal the least, the first are wanted
    for (int64_t first = 0; first < ranges.groups; first += threads) {
      const int64_t i = first + t.index();
      const uint32_t bits = i < ranges.groups ? magnitude(t, i) : 0;
      const bool ties = i < ranges.groups && bits == least;
      const Prefix<int64_t> place = prefix_sum<threads>(t, s.room, int64_t{ties ? 1 : 0});
      const bool among_first = ties && equal + place.before < wanted;
      chosen.append(t, s.room, (i < ranges.groups && bits > least) || among_first, i, 1.0F, done);
      equal += place.total;
    }
    if (t.index() == 0) count.store(t, 0, done);
  }
};

// Groups with p = 1 have the weight `certain`; the others p = picks * weight / total.
struct Sample {
  static constexpr int threads = threads_of_selection, blocks = 1;
  static constexpr int64_t certain = -1;
  struct Shared {
    BlockRoom<double, threads> doubles;
    BlockRoom<int64_t, threads> room;
  };
  Ranges ranges;
  Chosen chosen;
  GlobalArray<int64_t> count, weights;
  int64_t kept;
  PhiloxKey key;
  bool systematic, dense;  // dense: all groups, with factor 0 if they are not chosen

  struct Shares {
    int64_t picks, total;
  };

  // weight = ceil(extent / largest extent * 65535); returns how many are not 0, and their sum.
  FQT_DEVICE Shares weigh(const Thread& t, Shared& s) const {
    double largest = 0x1p-1022;
    for (int64_t i = t.index(); i < ranges.groups; i += threads) largest = Larger()(largest, ranges.extent(t, i));
    largest = reduce<threads>(t, s.doubles, largest, Larger());
    int64_t nonzero = 0, sum = 0;
    for (int64_t i = t.index(); i < ranges.groups; i += threads) {
      const auto weight = static_cast<int64_t>(ceil(ranges.extent(t, i) / largest * 65535.0));
      weights.store(t, i, weight);
      nonzero += weight > 0 ? 1 : 0;
      sum += weight;
    }
    return {reduce<threads>(t, s.room, nonzero, Sum()), reduce<threads>(t, s.room, sum, Sum())};
  }

  // Makes certain whose share is 1 or more, and shares out anew what they cannot take, until nobody's is.
  FQT_DEVICE Shares cap(const Thread& t, Shared& s, int64_t total) const {
    Shares left{kept, total};
    for (;;) {
      int64_t capped = 0, taken = 0;
      for (int64_t i = t.index(); i < ranges.groups; i += threads) {
        const int64_t weight = weights.load(t, i);
        if (weight <= 0 || left.picks * weight < left.total) continue;
        weights.store(t, i, certain);
        ++capped;
        taken += weight;
      }
      capped = reduce<threads>(t, s.room, capped, Sum());
      if (capped == 0) return left;
      left.picks -= capped;
      left.total -= reduce<threads>(t, s.room, taken, Sum());
    }
  }

  // With no more groups that are not zero than picks, these are certain, and the zero groups share what is left.
  FQT_DEVICE Shares keep_nonzero(const Thread& t, int64_t nonzero) const {
    for (int64_t i = t.index(); i < ranges.groups; i += threads) weights.store(t, i, weights.load(t, i) > 0 ? certain : 1);
    return {kept - nonzero, ranges.groups - nonzero};
  }

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const Shares weighed = weigh(t, s);
    const Shares left = weighed.picks <= kept ? keep_nonzero(t, weighed.picks) : cap(t, s, weighed.total);
    Uniform uniform(key, 0);
    const int64_t offset = systematic && left.picks > 0 ? (uniform.integer(0) * left.total) >> uniform_bits : 0;
    int64_t done = 0, passed = 0;  // chosen groups, and shares, before this round
    for (int64_t first = 0; first < ranges.groups; first += threads) {
      const int64_t i = first + t.index(), weight = i < ranges.groups ? weights.load(t, i) : 0;
      const int64_t share = weight > 0 ? left.picks * weight : 0;
      bool keep = weight == certain;
      if (systematic) {
        const Prefix<int64_t> place = prefix_sum<threads>(t, s.room, share);
        const int64_t before = passed + place.before + offset;
        keep = keep || (left.picks > 0 && (before + share) / left.total > before / left.total);
        passed += place.total;
      } else if (i < ranges.groups) {
        keep = keep || uniform.integer(i) * left.total < share << uniform_bits;
      }
      const float factor = !keep               ? 0.0F
                           : weight == certain ? 1.0F
                                               : static_cast<float>(static_cast<double>(left.total) / static_cast<double>(share));
      chosen.append(t, s.room, keep || (dense && i < ranges.groups), i, factor, done);
    }
    if (t.index() == 0) count.store(t, 0, done);
  }
};

struct KeptRanges {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const float> lo, hi;
  GlobalArray<const int64_t> index;
  GlobalArray<const float> factor;
  GlobalArray<float> kept_lo, kept_hi, scale, offset;
  int64_t kept;
  float levels;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= kept) return;
    const int64_t group = index.load(t, i);
    const float low = lo.load(t, group), high = hi.load(t, group), times = factor.load(t, i);
    kept_lo.store(t, i, low);
    kept_hi.store(t, i, high);
    scale.store(t, i, (high - low) / levels * times);
    offset.store(t, i, low * times);
  }
};

}  // namespace

void select_groups(const SelectArguments& a, const Queue& queue) {
  const Ranges ranges{{a.lo, a.groups}, {a.hi, a.groups}, a.groups};
  const Chosen chosen{{a.index, a.groups}, {a.factor, a.groups}};
  const GlobalArray<int64_t> count(a.count, 1);
  if (a.pruning == Pruning::none || (a.kept == a.groups && a.pruning != Pruning::topk)) {
    launch(KeepAll{chosen, count, a.groups}, {1}, queue);
  } else if (a.pruning == Pruning::topk) {
    launch(KeepLargest{ranges, chosen, count, a.kept}, {1}, queue);
  } else {
    const GlobalArray<int64_t> weights(queue.scratch<int64_t>(a.groups), a.groups);
    const PhiloxKey key{a.key[0], a.key[1], a.step, a.layer, a.purpose};
    launch(Sample{ranges, chosen, count, weights, a.kept, key, a.pruning == Pruning::systematic,
                  a.pruning == Pruning::bernoulli_dense}, {1}, queue);
  }
}

void kept_ranges(const KeptRangesArguments& a, const Queue& queue) {
  const GlobalArray<float> kept_lo(a.kept_lo, a.kept), kept_hi(a.kept_hi, a.kept);
  const KeptRanges kernel{{a.lo, a.groups}, {a.hi, a.groups},    {a.index, a.kept},     {a.factor, a.kept}, kept_lo, kept_hi,
                          {a.scale, a.kept}, {a.offset, a.kept}, a.kept, static_cast<float>(a.levels)};
  launch(kernel, {ceil_div(a.kept, KeptRanges::threads)}, queue);
}

}  // namespace fqt::cuda
