// Runs the kernels of the table on cases from a file (case_file.py writes it), and compares what they give with what the file
// says, bit for bit: run_cases FILE. Prints each kernel and how many cases it ran; the first difference ends the program.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <set>

#include "../../csrc/cpu/features.h"
#include "torch.h"

namespace {

using torch::stable::Kernel;
using torch::stable::Library;
using torch::stable::refuse;
using torch::stable::Results;
using torch::stable::ScalarType;
using torch::stable::Tensor;

class File {
 public:
  explicit File(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse("cannot read ", path);
    data_.assign(std::istreambuf_iterator<char>(file), {});
  }
  bool ended() const { return at_ == data_.size(); }
  size_t place() const { return at_; }
  void go_to(size_t place) { at_ = place; }
  void read(void* to, size_t bytes) {
    if (bytes > data_.size() - at_) refuse("the file ends within a case");
    std::memcpy(to, data_.data() + at_, bytes);
    at_ += bytes;
  }
  template <typename T>
  T number() {
    T value;
    read(&value, sizeof(value));
    return value;
  }
  std::string text() {
    std::string text(number<uint32_t>(), ' ');
    read(text.data(), text.size());
    return text;
  }
  void expect(char tag) {
    const char found = number<char>();
    if (found != tag) refuse("the file has '", found, "' where the kernel takes '", tag, "'");
  }
  Tensor tensor() {
    expect('t');
    const auto type = static_cast<ScalarType>(number<uint8_t>());
    std::vector<int64_t> sizes(number<uint8_t>());
    for (int64_t& size : sizes) size = number<int64_t>();
    Tensor tensor(sizes, type);
    read(tensor.mutable_data_ptr(), static_cast<size_t>(tensor.bytes()));
    return tensor;
  }

 private:
  std::vector<char> data_;
  size_t at_ = 0;
};

// A case's arguments; keeps the tensors, since kernels may change them in place.
class FileArguments final : public torch::stable::Arguments {
 public:
  explicit FileArguments(File& file) : file_(file) {}
  void take(Tensor& value) override {
    value = file_.tensor();
    tensors_.push_back(value);
  }
  void take(std::optional<Tensor>& value) override {
    const size_t place = file_.place();
    if (file_.number<char>() == 'n') return;
    file_.go_to(place);
    tensors_.push_back(file_.tensor());
    value = tensors_.back();
  }
  void take(int64_t& value) override {
    file_.expect('i');
    value = file_.number<int64_t>();
  }
  void take(double& value) override {
    file_.expect('f');
    value = file_.number<double>();
  }
  void take(std::optional<double>& value) override {
    const size_t place = file_.place();
    if (file_.number<char>() == 'n') return;
    file_.go_to(place);
    take(value.emplace());
  }
  void take(bool& value) override {
    file_.expect('b');
    value = file_.number<uint8_t>() != 0;
  }
  void take(std::string& value) override {
    file_.expect('s');
    value = file_.text();
  }
  void take(std::vector<int64_t>& value) override {
    file_.expect('l');
    value.resize(file_.number<uint32_t>());
    for (int64_t& item : value) item = file_.number<int64_t>();
  }
  void take(std::vector<Tensor>& value) override { take_items(value); }
  void take(std::vector<std::optional<Tensor>>& value) override { take_items(value); }
  void take(std::vector<double>& value) override { take_items(value); }
  void take(std::vector<bool>& value) override { take_items(value); }
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  template <typename T>
  void take_items(std::vector<T>& value) {
    const char tag = file_.number<char>();
    const auto count = file_.number<uint32_t>();
    if (tag != 'm' && (tag != 'l' || count != 0)) refuse("the file has '", tag, "' where the kernel takes several values");
    for (uint32_t i = 0; i < count; ++i) {
      T item{};
      take(item);
      value.push_back(std::move(item));
    }
  }

  File& file_;
  std::vector<Tensor> tensors_;
};

// The same bits, but for those of a NaN: IEEE 754 leaves its sign open, and processors differ.
template <typename T>
bool same_numbers(const Tensor& one, const Tensor& other) {
  const auto *a = static_cast<const T*>(one.const_data_ptr()), *b = static_cast<const T*>(other.const_data_ptr());
  for (int64_t i = 0; i < one.numel(); ++i) {
    if (std::memcmp(a + i, b + i, sizeof(T)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

bool same(const Tensor& one, const Tensor& other) {
  if (one.scalar_type() != other.scalar_type() || one.sizes() != other.sizes()) return false;
  if (one.scalar_type() == ScalarType::Float) return same_numbers<float>(one, other);
  if (one.scalar_type() == ScalarType::Double) return same_numbers<double>(one, other);
  return std::memcmp(one.const_data_ptr(), other.const_data_ptr(), static_cast<size_t>(one.bytes())) == 0;
}

// The results and, since some change in place, the arguments that are tensors.
void run_case(File& file, const std::string& name, const Kernel& kernel, int64_t number) {
  FileArguments arguments(file);
  Results found = kernel(arguments);
  found.insert(found.end(), arguments.tensors().begin(), arguments.tensors().end());
  const auto count = file.number<uint32_t>();
  if (count != found.size()) refuse(name, ", case ", number, ": ", found.size(), " tensors instead of ", count);
  for (uint32_t i = 0; i < count; ++i) {
    if (!same(found[i], file.tensor())) refuse(name, ", case ", number, ": tensor ", i, " differs");
  }
}

void run(File& file) {
  std::map<std::string, int64_t> counts;
  for (int64_t number = 0; !file.ended(); ++number) {
    const std::string operation = file.text();
    const size_t begin = file.place();
    size_t end = begin;
    for (const auto& [name, kernel] : Library::kernels()) {
      const size_t dot = name.find('.');
      if (name.substr(0, dot) != operation || !fqt::usable(name.c_str() + dot + 1)) continue;
      file.go_to(begin);
      run_case(file, name, kernel, number);
      end = file.place();
      ++counts[name];
    }
    if (end == begin) refuse("no kernel for ", operation);
  }
  for (const auto& [name, count] : counts) std::printf("%s %lld\n", name.c_str(), static_cast<long long>(count));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: run_cases FILE\n");
    return 2;
  }
  try {
    File file(arguments[1]);
    run(file);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
