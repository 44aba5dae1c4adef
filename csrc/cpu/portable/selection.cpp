// Activation gradient pruning: which groups are kept. The arithmetic is in integers; fqt_core/ops/selection.py specifies it.
#include <algorithm>
#include <cfloat>

#include "../kernels.h"
#include "../philox.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t uniform_bits = 24;

// Groups with p = 1 and the weights of the others, p = picks * weight / total.
struct Shares {
  Buffer<uint8_t> certain;
  Buffer<int64_t> weight;
  int64_t picks, total = 0;

  explicit Shares(const SelectArguments& a) : certain(a.groups), weight(a.groups), picks(a.kept) {
    int64_t nonzero = place(a);
    for (int64_t i = 0; i < a.groups; ++i) total += weight[i];
    if (nonzero <= a.kept) {
      // Everything that is not zero is kept; the zero groups share what is left.
      picks -= nonzero;
      total = a.groups - nonzero;
      for (int64_t i = 0; i < a.groups; ++i) {
        certain[i] = weight[i] > 0;
        weight[i] = weight[i] > 0 ? 0 : 1;
      }
      return;
    }
    while (cap()) {
    }
  }

 private:
  // weight = ceil(extent / largest extent * 65535); returns how many are not 0.
  int64_t place(const SelectArguments& a) const {
    const Buffer<double> extent(a.groups);
    double largest = DBL_MIN;
    for (int64_t i = 0; i < a.groups; ++i) {
      const double hi = a.hi[i] > 0.0F ? a.hi[i] : 0.0, lo = a.lo[i] < 0.0F ? a.lo[i] : 0.0;
      extent[i] = hi - lo;
      largest = extent[i] > largest ? extent[i] : largest;
    }
    int64_t nonzero = 0;
    for (int64_t i = 0; i < a.groups; ++i) {
      const double v = extent[i] / largest * 65535.0;
      weight[i] = static_cast<int64_t>(v);
      weight[i] += static_cast<double>(weight[i]) < v ? 1 : 0;
      nonzero += weight[i] > 0 ? 1 : 0;
    }
    return nonzero;
  }

  // Makes certain whose share is 1 or more; true if there was any.
  bool cap() {
    const int64_t share = picks, sum = total;
    for (int64_t i = 0; i < certain.count(); ++i) {
      if (weight[i] == 0 || share * weight[i] < sum) continue;
      certain[i] = 1;
      total -= weight[i];
      weight[i] = 0;
      --picks;
    }
    return picks != share;
  }
};

// The 24-bit integers that uniform numbers are made of, elements first .. first + 4 * philox_lanes - 1 of group 0.
void uniform_integers(const SelectArguments& a, int64_t first, int64_t* u) {
  const PhiloxKey key{{a.key[0], a.key[1]}, a.step, a.layer, a.purpose};
  float numbers[4 * philox_lanes];
  philox_uniform(key, static_cast<uint64_t>(first) / 4, numbers);
  for (int64_t i = 0; i < 4 * philox_lanes; ++i) u[i] = static_cast<int64_t>(numbers[i] * 0x1p24F);
}

void largest(const SelectArguments& a) {
  struct Entry {
    float magnitude;
    int64_t group;
  };
  const Buffer<Entry> entries(a.groups);
  for (int64_t i = 0; i < a.groups; ++i) {
    const float lo = a.lo[i] < 0.0F ? -a.lo[i] : a.lo[i], hi = a.hi[i] < 0.0F ? -a.hi[i] : a.hi[i];
    entries[i] = {lo > hi ? lo : hi, i};
  }
  Entry* first = entries.get();
  std::sort(first, first + a.groups, [](const Entry& x, const Entry& y) {
    return x.magnitude != y.magnitude ? x.magnitude > y.magnitude : x.group < y.group;
  });
  std::sort(first, first + a.kept, [](const Entry& x, const Entry& y) { return x.group < y.group; });
  for (int64_t i = 0; i < a.kept; ++i) {
    a.index[i] = entries[i].group;
    a.factor[i] = 1.0F;
  }
  *a.count = a.kept;
}

void sample(const SelectArguments& a) {
  const Shares shares(a);
  int64_t u[4 * philox_lanes] = {}, cumulated = 0, passed = 0, offset = 0;
  if (a.pruning == Pruning::systematic && shares.picks > 0) {
    uniform_integers(a, 0, u);
    offset = (u[0] * shares.total) >> uniform_bits;
  }
  const bool dense = a.pruning == Pruning::bernoulli_dense;
  int64_t count = 0;
  for (int64_t i = 0; i < a.groups; ++i) {
    bool chosen = shares.certain[i] != 0;
    const int64_t share = shares.picks * shares.weight[i];
    if (a.pruning != Pruning::systematic) {
      if (i % (4 * philox_lanes) == 0) uniform_integers(a, i, u);
      chosen |= u[i % (4 * philox_lanes)] * shares.total < share << uniform_bits;
    } else if (shares.picks > 0) {
      cumulated += share;
      const int64_t now = (cumulated + offset) / shares.total;
      chosen |= now > passed;
      passed = now;
    }
    if (!chosen && !dense) continue;
    a.index[count] = i;
    a.factor[count++] = !chosen                  ? 0.0F
                        : shares.certain[i] != 0 ? 1.0F
                                                 : static_cast<float>(static_cast<double>(shares.total) / static_cast<double>(share));
  }
  *a.count = count;
}

}  // namespace

namespace portable {

void select_groups(const SelectArguments& a, const Threads& /*threads*/) {
  if (a.pruning == Pruning::none || (a.kept == a.groups && a.pruning != Pruning::topk)) {
    for (int64_t i = 0; i < a.groups; ++i) {
      a.index[i] = i;
      a.factor[i] = 1.0F;
    }
    *a.count = a.groups;
  } else if (a.pruning == Pruning::topk) {
    largest(a);
  } else {
    sample(a);
  }
}

void kept_ranges(const KeptRangesArguments& a, const Threads& /*threads*/) {
  for (int64_t i = 0; i < a.kept; ++i) {
    const float lo = a.lo[a.index[i]], hi = a.hi[a.index[i]];
    a.kept_lo[i] = lo;
    a.kept_hi[i] = hi;
    a.scale[i] = (hi - lo) / static_cast<float>(a.levels) * a.factor[i];
    a.offset[i] = lo * a.factor[i];
  }
}

}  // namespace portable
}  // namespace fqt
