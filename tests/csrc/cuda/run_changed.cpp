// Runs a kernel whose source a test has changed, in the emulator, on data of no importance: run_changed OPERATION. Prints what the
// emulator says, if it says anything. No torch: it is compiled for each run of the test.
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include "../../../csrc/cuda/kernels.h"

namespace {

using Blocks = std::vector<std::unique_ptr<std::vector<uint64_t>>>;

void* allocate(void* owner, size_t bytes) {
  auto& blocks = *static_cast<Blocks*>(owner);
  blocks.push_back(std::make_unique<std::vector<uint64_t>>(bytes / sizeof(uint64_t) + 1));
  return blocks.back()->data();
}

// 2 samples, 70 channels, 5 pixels.
void pack(const fqt::cuda::Queue& queue) {
  const std::vector<float> x(2 * 70 * 5, 1.0F);
  std::vector<uint64_t> words(2 * 5 * 2);
  fqt::cuda::pack_sign({x.data(), words.data(), nullptr, 2, 70, 5}, queue);
}

// 200 samples of 1000 features, 9 outputs: several steps.
void multiply(const fqt::cuda::Queue& queue) {
  const std::vector<uint64_t> x(200 * 16, 5), weight(9 * 16, 3);
  std::vector<int32_t> y(200 * 9);
  const fqt::ConvShape shape{200, 1000, 1, 1, 9, 1, 1, {1, 1}, {0, 0}, {1, 1}, 1, 1, 1};
  fqt::cuda::binary_linear({shape, x.data(), weight.data(), y.data()}, queue);
}

}  // namespace

int main(int count, char** arguments) {
  Blocks blocks;
  const fqt::cuda::Queue queue{nullptr, fqt::cuda::Path::bits, &allocate, &blocks};
  try {
    if (count == 2 && std::strcmp(arguments[1], "pack_sign") == 0) pack(queue);
    if (count == 2 && std::strcmp(arguments[1], "binary_linear") == 0) multiply(queue);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
  }
  return 0;
}
