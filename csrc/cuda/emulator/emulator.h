// The machine of device.h on a CPU; for tests. It is as strict as CUDA's rules are, not as GPUs happen to be: all threads of a
// block pass the same barriers, no exchange within a warp orders memory, and different blocks share nothing that one of them writes.
#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>

#include "../device.h"
#include "block.h"
#include "watch.h"

#define FQT_DEVICE inline
#define FQT_HOST_DEVICE inline
#define FQT_UNROLL
#define FQT_NO_UNROLL

namespace fqt::cuda {

class Thread {
 public:
  Thread(emulator::Block& block, int index, const Grid& place) : block_(block), index_(index), place_(place) {}
  int index() const { return index_; }
  int lane() const { return index() % warp_size; }
  int warp() const { return index() / warp_size; }
  int64_t block_x() const { return place_.x; }
  int64_t block_y() const { return place_.y; }
  int64_t block_z() const { return place_.z; }
  void barrier() const { block_.barrier(); }
  emulator::Visitor visitor() const { return block_.visitor(); }

  // Calls together(what each of the 32 lanes has brought) once, when all have come.
  template <auto together, typename T>
  void exchange(T& brought) const {
    block_.exchange(
        [](void* const* lanes) {
          T* all[warp_size];
          for (int i = 0; i < warp_size; ++i) all[i] = static_cast<T*>(lanes[i]);
          together(all);
        },
        &brought);
  }

  uint32_t ballot(bool vote) const {
    uint32_t value = vote ? 1 : 0;
    exchange<&collect_votes>(value);
    return value;
  }
  template <typename T>
  T from_lane_xor(T value, int mask) const {
    return from_lane(value, lane() ^ mask);
  }
  template <typename T>
  T from_lane_below(T value, int distance) const {
    return from_lane(value, lane() < distance ? lane() : lane() - distance);
  }

 private:
  template <typename T>
  struct Sent {
    T value;
    int source;
  };
  static void collect_votes(uint32_t* const* lanes) {
    uint32_t votes = 0;
    for (int i = 0; i < warp_size; ++i) votes |= *lanes[i] << i;
    for (int i = 0; i < warp_size; ++i) *lanes[i] = votes;
  }
  template <typename T>
  static void deliver(Sent<T>* const* lanes) {
    T values[warp_size];
    for (int i = 0; i < warp_size; ++i) values[i] = lanes[i]->value;
    for (int i = 0; i < warp_size; ++i) lanes[i]->value = values[lanes[i]->source];
  }
  template <typename T>
  T from_lane(T value, int source) const {
    Sent<T> sent{value, source};
    exchange<&deliver<T>>(sent);
    return sent.value;
  }

  emulator::Block& block_;
  int index_;
  Grid place_;
};

namespace emulator {

// Neighbouring words may only be accessed at once from a multiple of their number on.
template <typename Words>
void check_aligned(const void* first) {
  if (reinterpret_cast<uintptr_t>(first) % alignof(Words) != 0) throw std::runtime_error("words that are accessed at once are not aligned");
}

}  // namespace emulator

template <typename T>
class GlobalArray {
 public:
  GlobalArray() = default;
  GlobalArray(T* data, int64_t count)
      : data_(data), watch_(std::make_shared<emulator::Watch>(data == nullptr ? 0 : count, true, "global memory")) {}
  explicit operator bool() const { return data_ != nullptr; }
  T load(const Thread& t, int64_t i) const {
    emulator::check_aligned<T>(data_ + i);
    watch_->read(t.visitor(), i);
    return data_[i];
  }
  Pair load2(const Thread& t, int64_t i) const {
    emulator::check_aligned<Pair>(data_ + i);
    return {{load(t, i), load(t, i + 1)}};
  }
  void store(const Thread& t, int64_t i, T value) const {
    watch_->write(t.visitor(), i);
    data_[i] = value;
  }
  void store2(const Thread& t, int64_t i, Pair value) const {
    emulator::check_aligned<Pair>(data_ + i);
    store(t, i, value.word[0]);
    store(t, i + 1, value.word[1]);
  }
  void add(const Thread& t, int64_t i, T value) const {
    watch_->add(t.visitor(), i);
    data_[i] += value;
  }
  void merge(const Thread& t, int64_t i, T bits) const {
    watch_->add(t.visitor(), i);
    data_[i] |= bits;
  }

 private:
  T* data_ = nullptr;
  std::shared_ptr<emulator::Watch> watch_;
};

template <typename T, int count>
class SharedArray {
 public:
  T load(const Thread& t, int i) const {
    watch_.read(t.visitor(), i);
    return data_[i];
  }
  Quad load4(const Thread& t, int i) const {
    emulator::check_aligned<Quad>(data_ + i);
    return {{load(t, i), load(t, i + 1), load(t, i + 2), load(t, i + 3)}};
  }
  void store(const Thread& t, int i, T value) {
    watch_.write(t.visitor(), i);
    data_[i] = value;
  }
  void add(const Thread& t, int i, T value) {
    watch_.add(t.visitor(), i);
    data_[i] += value;
  }

 private:
  alignas(16) T data_[count];
  mutable emulator::Watch watch_{count, false, "shared memory"};
};

inline int set_bits(uint64_t word) { return __builtin_popcountll(word); }
inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

template <typename Kernel>
void launch(const Kernel& kernel, const Grid& grid, const Queue&) {
  static_assert(Kernel::threads % warp_size == 0 && Kernel::threads <= 1024);
  emulator::Block block(Kernel::threads);
  for (int64_t i = 0; i < grid.x * grid.y * grid.z; ++i) {
    const Grid place{i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    const auto shared = std::make_unique<typename Kernel::Shared>();
    try {
      block.run(i, [&](int index) {
        Thread thread(block, index, place);
        kernel(thread, *shared);
      });
    } catch (const std::runtime_error& error) {
      const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(typeid(Kernel).name(), nullptr, nullptr, nullptr), std::free);
      throw std::runtime_error(std::string(name.get()) + ": " + error.what());
    }
  }
}

}  // namespace fqt::cuda
