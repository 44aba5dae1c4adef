// Memory of results and of scratch, which a process that trains keeps for what follows.
#pragma once

#include <cstddef>

namespace fqt {

// From now on, and for as long as the process lives, large blocks that are released are kept for those to come. A training step asks
// for the same sizes again and again; malloc cuts what one of them leaves for something small, so that the next does not fit, and
// its heap grows by some MiB in every few steps.
void keep_memory();

// Whether a block of so many bytes would be kept.
bool memory_is_kept(size_t bytes);

// Bytes of the blocks that are lent, of those that were lent at most at once, and of those that lie ready, which are never more than
// three times that: the system gets back what has been asked for least recently.
struct KeptMemory {
  size_t lent, most_lent, ready;
};
KeptMemory kept_memory();

}  // namespace fqt
