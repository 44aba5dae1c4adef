#include "memory.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "arguments.h"

namespace fqt {
namespace {

constexpr size_t alignment = 64;

// More than any machine has; sizes below it can be rounded up.
constexpr size_t most_bytes = size_t{1} << 62;

// What is smaller finds its place anywhere.
constexpr size_t least_kept = size_t{64} << 10;

// Blocks that lie ready, in what was lent at most at once. A step that runs again and again has 1.5 to 2 times that, of all sizes
// together.
constexpr size_t most_ready = 3;

// Up to an eighth more than is asked for, so that sizes that hardly differ share their blocks.
size_t size_on_shelf(size_t bytes) {
  size_t step = alignment;
  while (step * 16 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Block = std::unique_ptr<void, Free>;

Block from_system(size_t bytes) {
  Block block(std::aligned_alloc(alignment, bytes));
  if (!block) throw std::bad_alloc();
  return block;
}

// Released blocks by size, which is without the line that follows each block: most sizes are powers of two, and would be an eighth
// larger with it.
class Store {
 public:
  void* take(size_t bytes) {
    const size_t size = size_on_shelf(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    ++taken_;
    for (auto place = shelves_.lower_bound(size); place != shelves_.end() && place->first <= 2 * size; ++place) {
      Shelf& shelf = place->second;
      if (shelf.ready.empty()) continue;
      void* memory = shelf.ready.back();
      shelf.ready.pop_back();
      ready_ -= place->first;
      return lend(place->first, shelf, memory);
    }
    Block block = even_if_all_is_given_back(size + alignment);
    Shelf& shelf = shelves_[size];
    shelf.ready.reserve(shelf.blocks + 1);  // so that giving back needs no memory
    size_of_.emplace(block.get(), size);
    ++shelf.blocks;
    return lend(size, shelf, block.release());
  }

  // False if it is not of this store.
  bool give_back(void* memory) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = size_of_.find(memory);
    if (known == size_of_.end()) return false;
    shelves_.find(known->second)->second.ready.push_back(memory);
    lent_ -= known->second;
    ready_ += known->second;
    while (ready_ > most_ready * most_lent_) drop_oldest();
    return true;
  }

  KeptMemory now() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {lent_, most_lent_, ready_};
  }

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  struct Shelf {
    std::vector<void*> ready;
    size_t blocks = 0;        // with those that are lent
    uint64_t last_taken = 0;  // when, in blocks taken from any shelf
  };

  void* lend(size_t size, Shelf& shelf, void* memory) {
    shelf.last_taken = taken_;
    lent_ += size;
    most_lent_ = std::max(most_lent_, lent_);
    return memory;
  }

  // From the system; where it has no more, or gives no more to this process, what lies ready is worth less than what is wanted.
  Block even_if_all_is_given_back(size_t size) {
    try {
      return from_system(size);
    } catch (const std::bad_alloc&) {
      while (ready_ > 0) drop_oldest();
      return from_system(size);
    }
  }

  // To the system, a block of the size that has been asked for least recently.
  void drop_oldest() noexcept {
    Shelf* oldest = nullptr;
    for (auto& [size, shelf] : shelves_) {
      if (!shelf.ready.empty() && (oldest == nullptr || shelf.last_taken < oldest->last_taken)) oldest = &shelf;
    }
    void* memory = oldest->ready.back();
    oldest->ready.pop_back();
    --oldest->blocks;
    const auto known = size_of_.find(memory);
    ready_ -= known->second;
    size_of_.erase(known);
    std::free(memory);
  }

  std::mutex mutex_;
  std::map<size_t, Shelf> shelves_;
  std::unordered_map<void*, size_t> size_of_;
  uint64_t taken_ = 0;
  size_t lent_ = 0, most_lent_ = 0, ready_ = 0;
};

// Null until memory is kept; never destroyed, for tensors may outlive what is destroyed at a process's end.
std::atomic<Store*> the_store{nullptr};

}  // namespace

void keep_memory() {
  static const int registered = [] {
    the_store.store(new Store);
    // A child process finds the store as it is while no thread is at work on it.
    return pthread_atfork([] { the_store.load()->lock(); }, [] { the_store.load()->unlock(); }, [] { the_store.load()->unlock(); });
  }();
  static_cast<void>(registered);
}

bool memory_is_kept(size_t bytes) { return bytes >= least_kept && the_store.load() != nullptr; }

KeptMemory kept_memory() {
  Store* store = the_store.load();
  return store == nullptr ? KeptMemory{} : store->now();
}

void* allocate(size_t bytes, bool cleared) {
  if (bytes > most_bytes) throw std::bad_alloc();
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment + alignment;
  void* memory = memory_is_kept(bytes) ? the_store.load()->take(bytes) : from_system(rounded).release();
  if (cleared) std::memset(memory, 0, rounded);
  return memory;
}

void release(void* memory) noexcept {
  Store* store = the_store.load();
  if (store == nullptr || !store->give_back(memory)) std::free(memory);
}

}  // namespace fqt
