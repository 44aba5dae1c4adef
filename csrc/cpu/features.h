// Which instruction sets this machine and its operating system let a process use.
#pragma once

namespace fqt {

// `name` as in the table of kernels; false for an unknown one.
bool usable(const char* name);

}  // namespace fqt
