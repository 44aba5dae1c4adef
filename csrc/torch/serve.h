// Makes a kernel of the table what torch calls for an operation on a processor.
#pragma once

#include <string>

namespace fqt::rim {

// Registers the kernel of this instruction set as `fqt::<operation>` on the CPU, for as long as the process lives; false if the
// table has none. A kernel of `fqt_native` that Python registers would be called by way of the interpreter: 30 µs more in a step,
// whose products empty the processor's caches.
bool serve(const std::string& operation, const std::string& isa);

}  // namespace fqt::rim
