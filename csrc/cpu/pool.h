// Threads that help with a kernel's work.
#pragma once

#include "arguments.h"

namespace fqt {

// Runs body(context, begin, end) over [0, count), cut into pieces of at least `least` items, on the calling thread and on up to
// `threads` - 1 helpers, and returns when all of it is done. The first exception of a body is thrown again. For no more than
// `enough` items no helper is made or woken; those that look for work take part.
//
// A helper that has not come yet when the work is done is not waited for: where something else keeps its core busy, the caller has
// done its part as well. (The end of an OpenMP region waits for every thread; one that is not running holds up all of them, dozens of
// times in a training step.) Each thread begins with a range of its own, which it takes in ever smaller pieces, and then helps
// with what is left of the others'. So what it wrote in the operation before, which was cut in the same way, is in its core's cache.
//
// Called by a body, or while another thread's work is under way, it runs the whole on the calling thread. Helpers that have nothing
// to do look for work for a moment, and sleep then. They are made when they are first wanted, and anew after a fork.
void run_in_pool(int64_t threads, int64_t count, int64_t least, int64_t enough, Threads::Body body, void* context);

}  // namespace fqt
