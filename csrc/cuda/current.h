// The GPU that is in use.
#pragma once

#include <cstdint>

#include "queue.h"

namespace fqt::cuda {

// How products run on a GPU of this compute capability: b1 has tensor cores from 8.0 to 9.0; before and after, bytes do.
constexpr Path path_for(int major) { return major == 8 || major == 9 ? Path::bits : Path::bytes; }

// Of a device, asked once. Throws std::runtime_error.
Path path_of(int device);

// A number in the GPU's memory, when all work that is queued in the stream has ended: waits for it.
int64_t fetch(const int64_t* number, void* stream);

}  // namespace fqt::cuda
