// Kernels with faults that the emulator must find: `fqt_cuda_emulated::run_fault(data, fault)`, data int32 (64,). Each turns the halves of
// its block's 64 numbers, or would without its fault.
#include <string>

#include "../../../csrc/cuda/device.h"
#include "../../../csrc/torch/checks.h"

namespace {

using fqt::cuda::GlobalArray;
using fqt::cuda::Grid;
using fqt::cuda::Queue;
using fqt::cuda::SharedArray;
using fqt::cuda::Thread;

enum class Fault { none, past_the_end, no_barrier, unwritten, barrier_for_some, half_a_warp, between_blocks, between_threads, unaligned };

constexpr const char* names[] = {"none",        "past_the_end",   "no_barrier",      "unwritten", "barrier_for_some",
                                 "half_a_warp", "between_blocks", "between_threads", "unaligned"};

template <Fault fault>
struct Turn {
  static constexpr int threads = 64, blocks = 1;
  struct Shared {
    SharedArray<int32_t, threads> values;
  };
  GlobalArray<int32_t> data;
  GlobalArray<const uint32_t> words;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int i = t.index(), half = threads / 2;
    if (fault != Fault::unwritten || i != 0) s.values.store(t, i, data.load(t, fault == Fault::past_the_end ? i + 1 : i));
    if (fault != Fault::no_barrier) t.barrier();
    if (fault == Fault::barrier_for_some && i < half) t.barrier();
    if (fault == Fault::half_a_warp && i % 32 < 16) t.ballot(true);
    if (fault == Fault::unaligned && i == 0) words.load2(t, 1);
    data.store(t, fault == Fault::between_threads ? i / 2 : i, s.values.load(t, (i + half) % threads));
  }
};

template <Fault fault>
void run(int32_t* data) {
  const Turn<fault> kernel{{data, 64}, {reinterpret_cast<const uint32_t*>(data), 64}};
  fqt::cuda::launch(kernel, Grid{fault == Fault::between_blocks ? 2 : 1}, Queue{});
}

constexpr void (*runs[])(int32_t*) = {&run<Fault::none>,           &run<Fault::past_the_end>,   &run<Fault::no_barrier>,
                                      &run<Fault::unwritten>,      &run<Fault::barrier_for_some>, &run<Fault::half_a_warp>,
                                      &run<Fault::between_blocks>, &run<Fault::between_threads>,  &run<Fault::unaligned>};

void run_fault(fqt::Tensor data, std::string fault) {
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
    if (fault == names[i]) runs[i](static_cast<int32_t*>(data.mutable_data_ptr()));
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(fqt_cuda_emulated, m) { m.def("run_fault(Tensor(a!) data, str fault) -> ()"); }
STABLE_TORCH_LIBRARY_IMPL(fqt_cuda_emulated, CPU, m) { m.impl("run_fault", TORCH_BOX(&run_fault)); }
