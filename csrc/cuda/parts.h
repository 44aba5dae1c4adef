// Two values for each of many groups, in parts that blocks find and a second kernel joins:  [part][group].
//
// A block takes 32 groups, a lane each, so neighbours load neighbours; its warps share out what belongs to a group. Rules of joining do
// not depend on the order:
//
//     Bounds    least and greatest, NaN if any is          Sums    of integers
#pragma once

#include <limits>

#include "../cpu/support.h"
#include "device.h"

namespace fqt::cuda {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr int warps_of_parts = 8, threads_of_parts = warps_of_parts * warp_size;

template <typename T>
struct Two {
  T first, second;
};

// Of two, or NaN if either is.
struct Least {
  FQT_HOST_DEVICE float operator()(float a, float b) const { return b < a || b != b ? b : a; }
};
struct Greatest {
  FQT_HOST_DEVICE float operator()(float a, float b) const { return b > a || b != b ? b : a; }
};
struct Sum {
  template <typename T>
  FQT_HOST_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};

struct Bounds {
  using Value = float;
  using First = Least;
  using Second = Greatest;
  FQT_HOST_DEVICE static Two<float> start() { return {infinity, -infinity}; }
};
struct Sums {
  using Value = int64_t;
  using First = Sum;
  using Second = Sum;
  FQT_HOST_DEVICE static Two<int64_t> start() { return {0, 0}; }
};

template <typename Rule>
FQT_HOST_DEVICE void join(Two<typename Rule::Value>& own, const Two<typename Rule::Value>& other) {
  own = {typename Rule::First()(own.first, other.first), typename Rule::Second()(own.second, other.second)};
}

template <typename T>
struct PairRoom {
  SharedArray<T, threads_of_parts> first, second;
};

// For warp 0: what all warps have found for a lane's group. All threads of the block come here, once.
template <typename Rule, typename T>
FQT_DEVICE Two<T> join_warps(const Thread& t, PairRoom<T>& room, Two<T> value) {
  room.first.store(t, t.index(), value.first);
  room.second.store(t, t.index(), value.second);
  t.barrier();
  if (t.warp() != 0) return value;
  for (int i = t.lane() + warp_size; i < threads_of_parts; i += warp_size) {
    join<Rule>(value, {room.first.load(t, i), room.second.load(t, i)});
  }
  return value;
}

// `parts` parts of `groups` groups.
template <typename T>
struct Parts {
  GlobalArray<T> first, second;
  int64_t parts, groups;

  FQT_DEVICE void store(const Thread& t, int64_t part, int64_t group, const Two<T>& value) const {
    first.store(t, part * groups + group, value.first);
    second.store(t, part * groups + group, value.second);
  }
};

// Their memory. Each kernel that uses it is given arrays of its own.
template <typename T>
struct PartsMemory {
  T *first, *second;
  int64_t parts, groups;

  PartsMemory(int64_t parts_, int64_t groups_, const Queue& queue)
      : first(queue.scratch<T>(parts_ * groups_)), second(queue.scratch<T>(parts_ * groups_)), parts(parts_), groups(groups_) {}

  Parts<T> arrays() const { return {{first, parts * groups}, {second, parts * groups}, parts, groups}; }
};

// finish.store(t, group, all parts joined).
template <typename Rule, typename Finish>
struct JoinParts {
  static constexpr int threads = threads_of_parts, blocks = 4;
  using T = typename Rule::Value;
  using Shared = PairRoom<T>;
  Parts<T> parts;
  Finish finish;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t group = t.block_x() * warp_size + t.lane();
    Two<T> value = Rule::start();
    if (group < parts.groups) {
      for (int64_t i = t.warp(); i < parts.parts; i += warps_of_parts) {
        const int64_t at = i * parts.groups + group;
        join<Rule>(value, {parts.first.load(t, at), parts.second.load(t, at)});
      }
    }
    value = join_warps<Rule>(t, s, value);
    if (t.warp() == 0 && group < parts.groups) finish.store(t, group, value);
  }
};

template <typename Rule, typename Finish>
void join_parts(const PartsMemory<typename Rule::Value>& memory, const Finish& finish, const Queue& queue) {
  launch(JoinParts<Rule, Finish>{memory.arrays(), finish}, {ceil_div(memory.groups, warp_size)}, queue);
}

// How many blocks share out `count` places of work that `others` blocks each do: enough to keep a large GPU busy, each with some for
// every warp.
inline int64_t slabs_for(int64_t count, int64_t others) {
  constexpr int64_t wanted_blocks = 1024, least_places = 4 * warps_of_parts;
  return larger(1, smaller(ceil_div(wanted_blocks, larger(1, others)), count / least_places));
}

}  // namespace fqt::cuda
