#include "watch.h"

#include <stdexcept>
#include <string>

namespace fqt::cuda::emulator {
namespace {

// Stand for whom additions come from: nobody else's access is ordered after those of several blocks, and only a barrier orders it
// after those of several threads.
constexpr int64_t several_blocks = INT64_MAX;
constexpr int several_threads = -2;

// Whether what `earlier` did is over for `later`: the same thread, or a barrier between them.
bool ordered(const Visitor& earlier, const Visitor& later) {
  return earlier.block == later.block && (earlier.thread == later.thread || earlier.epoch < later.epoch);
}

}  // namespace

void Watch::refuse(const Visitor& who, const char* verb, int64_t i, const char* why) const {
  throw std::runtime_error("block " + std::to_string(who.block) + ", thread " + std::to_string(who.thread) + " " + verb +
                           " element " + std::to_string(i) + " of " + std::to_string(cells_.size()) + " in " + what_ + ": " +
                           why);
}

Watch::Cell& Watch::cell(const Visitor& who, int64_t i, const char* verb) {
  if (i < 0 || i >= static_cast<int64_t>(cells_.size())) refuse(who, verb, i, "out of bounds");
  return cells_[static_cast<size_t>(i)];
}

void Watch::check_writer(const Cell& cell, const Visitor& who, int64_t i, const char* verb) const {
  if (cell.writer.block >= 0 && !ordered(cell.writer, who)) refuse(who, verb, i, "a race with a thread that writes it");
}

void Watch::check_readers(const Cell& cell, const Visitor& who, int64_t i, const char* verb) const {
  if (cell.reader.block < 0) return;
  const bool others_now = cell.read_by_many && cell.reader.epoch == who.epoch;
  if (cell.read_by_blocks || !ordered(cell.reader, who) || others_now) refuse(who, verb, i, "a race with a thread that reads it");
}

void Watch::read(const Visitor& who, int64_t i) {
  Cell& c = cell(who, i, "reads");
  if (!initialised_ && c.writer.block < 0) refuse(who, "reads", i, "nobody has written it");
  check_writer(c, who, i, "reads");
  if (c.reader.block >= 0 && c.reader.block != who.block) c.read_by_blocks = true;
  const bool same_epoch = c.reader.block == who.block && c.reader.epoch == who.epoch;
  c.read_by_many = same_epoch && (c.read_by_many || c.reader.thread != who.thread);
  c.reader = who;
}

void Watch::write(const Visitor& who, int64_t i) {
  Cell& c = cell(who, i, "writes");
  check_writer(c, who, i, "writes");
  check_readers(c, who, i, "writes");
  c.writer = who;
  c.atomic = false;
}

void Watch::add(const Visitor& who, int64_t i) {
  Cell& c = cell(who, i, "adds to");
  if (!initialised_ && c.writer.block < 0) refuse(who, "adds to", i, "nobody has written it");
  if (!c.atomic) check_writer(c, who, i, "adds to");
  check_readers(c, who, i, "adds to");
  Visitor writer = who;
  if (c.atomic && c.writer.block != who.block) writer.block = several_blocks;
  if (c.atomic && c.writer.thread != who.thread) writer.thread = several_threads;
  c.writer = writer;
  c.atomic = true;
}

}  // namespace fqt::cuda::emulator
