// The Python module fqt_core._native. Importing it runs the registrations of register.cpp; it holds the kernel table as
// KERNELS, a tuple of (operation, instruction set).
#include <Python.h>

namespace {

struct Row {
  const char* operation;
  const char* isa;
};

constexpr Row table[] = {
#define FQT_KERNEL(operation, arguments, isa) {#operation, #isa},
#include "../kernels.inc"
#undef FQT_KERNEL
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Native kernels of fqt_core.", -1, nullptr, nullptr, nullptr, nullptr, nullptr,
};

PyObject* kernel_tuple() {
  constexpr Py_ssize_t count = sizeof(table) / sizeof(table[0]);
  PyObject* rows = PyTuple_New(count);
  if (rows == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* row = Py_BuildValue("(ss)", table[i].operation, table[i].isa);
    if (row == nullptr || PyTuple_SetItem(rows, i, row) != 0) {
      Py_DECREF(rows);
      return nullptr;
    }
  }
  return rows;
}

}  // namespace

PyMODINIT_FUNC PyInit__native() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  PyObject* rows = kernel_tuple();
  if (rows == nullptr || PyModule_AddObjectRef(module, "KERNELS", rows) != 0) {
    Py_XDECREF(rows);
    Py_DECREF(module);
    return nullptr;
  }
  Py_DECREF(rows);
  return module;
}
