// Reductions and prefix sums within a block.
#pragma once

#include "device.h"

namespace fqt::cuda {

template <typename T, int threads>
struct BlockRoom {
  SharedArray<T, threads / warp_size> warps;
};

// join(all threads' values), in every thread; join is associative and commutative. All threads of the block come here.
template <int threads, typename T, typename Join>
FQT_DEVICE T reduce(const Thread& t, BlockRoom<T, threads>& room, T value, Join join) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value = join(value, t.from_lane_xor(value, mask));
  if (t.lane() == 0) room.warps.store(t, t.warp(), value);
  t.barrier();
  T all = room.warps.load(t, 0);
  for (int i = 1; i < threads / warp_size; ++i) all = join(all, room.warps.load(t, i));
  t.barrier();  // the room may be used again
  return all;
}

template <typename T>
struct Prefix {
  T before, total;  // the sum of the threads before this one, and of all
};

template <int threads, typename T>
FQT_DEVICE Prefix<T> prefix_sum(const Thread& t, BlockRoom<T, threads>& room, T value) {
  T sum = value;
  for (int distance = 1; distance < warp_size; distance *= 2) {
    const T below = t.from_lane_below(sum, distance);
    if (t.lane() >= distance) sum += below;
  }
  if (t.lane() == warp_size - 1) room.warps.store(t, t.warp(), sum);
  t.barrier();
  Prefix<T> prefix{sum - value, 0};
  for (int i = 0; i < threads / warp_size; ++i) {
    const T of_warp = room.warps.load(t, i);
    if (i < t.warp()) prefix.before += of_warp;
    prefix.total += of_warp;
  }
  t.barrier();
  return prefix;
}

}  // namespace fqt::cuda
