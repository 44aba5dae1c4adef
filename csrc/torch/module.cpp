// The Python module fqt_core._native. Importing it runs the registrations of register.cpp, and `serve` chooses one (serve.h); it holds
// the kernel table as KERNELS, a tuple of (operation, instruction set), as USABLE the instruction sets of it that this machine can
// run, as CUDA_KERNELS the operations that have CUDA kernels, and as LEAST_GROUP_CHANNELS and MOST_FORWARD_TERMS what the fast kernels
// of products leave to the portable ones (limits.h). `keep_memory` and `kept_memory` are those of memory.h. As
// `torch.ops.fqt_native.new_tensor` it has what makes the kernels' results, for results that Python makes.
#include <Python.h>

#include <exception>

#include "../cpu/features.h"
#include "../cpu/limits.h"
#include "../cpu/memory.h"
#include "rim.h"
#include "serve.h"

namespace {

struct Row {
  const char* operation;
  const char* isa;
};

constexpr Row table[] = {
#define FQT_KERNEL(operation, arguments, isa) {#operation, #isa},
#define FQT_COMPOSED(operation, isa) {#operation, #isa},
#include "../kernels.inc"
#undef FQT_COMPOSED
#undef FQT_KERNEL
};

PyObject* serve(PyObject* /*module*/, PyObject* arguments) {
  const char *operation = nullptr, *isa = nullptr;
  if (!PyArg_ParseTuple(arguments, "ss:serve", &operation, &isa)) return nullptr;
  try {
    if (fqt::rim::serve(operation, isa)) Py_RETURN_NONE;
  } catch (const std::exception& error) {
    return PyErr_Format(PyExc_RuntimeError, "%s.%s: %s", operation, isa, error.what());
  }
  return PyErr_Format(PyExc_LookupError, "there is no kernel %s.%s", operation, isa);
}

PyObject* keep_memory(PyObject* /*module*/, PyObject* /*nothing*/) {
  fqt::keep_memory();
  Py_RETURN_NONE;
}

PyObject* kept_memory(PyObject* /*module*/, PyObject* /*nothing*/) {
  const fqt::KeptMemory now = fqt::kept_memory();
  return Py_BuildValue("nnn", static_cast<Py_ssize_t>(now.lent), static_cast<Py_ssize_t>(now.most_lent),
                       static_cast<Py_ssize_t>(now.ready));
}

PyMethodDef methods[] = {
    {"keep_memory", keep_memory, METH_NOARGS, "keep_memory(): keep released blocks from now on (memory.h)."},
    {"kept_memory", kept_memory, METH_NOARGS, "kept_memory(): bytes of kept blocks: (lent, most_lent, ready)."},
    {"serve", serve, METH_VARARGS, "serve(operation, isa): make this kernel torch's own for fqt::operation on the CPU."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Native kernels of fqt_core.", -1, methods, nullptr, nullptr, nullptr, nullptr,
};

constexpr const char* cuda_table[] = {
#if defined(FQT_WITH_CUDA)
#define FQT_CUDA(operation, arguments) #operation,
#define FQT_CUDA_PRODUCT FQT_CUDA
#include "../cuda/kernels.inc"
#undef FQT_CUDA_PRODUCT
#undef FQT_CUDA
#endif
    nullptr,
};

PyObject* cuda_tuple() {
  constexpr Py_ssize_t count = sizeof(cuda_table) / sizeof(cuda_table[0]) - 1;
  PyObject* names = PyTuple_New(count);
  if (names == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* name = PyUnicode_FromString(cuda_table[i]);
    if (name == nullptr || PyTuple_SetItem(names, i, name) != 0) {
      Py_DECREF(names);
      return nullptr;
    }
  }
  return names;
}

// The instruction sets of the table that can be used here, slowest first (in the table's order).
PyObject* usable_list() {
  PyObject* names = PyList_New(0);
  if (names == nullptr) return nullptr;
  for (const Row& row : table) {
    PyObject* name = PyUnicode_FromString(row.isa);
    const int known = name == nullptr ? -1 : PySequence_Contains(names, name);
    const bool failed = known < 0 || (known == 0 && fqt::usable(row.isa) && PyList_Append(names, name) != 0);
    Py_XDECREF(name);
    if (failed) {
      Py_DECREF(names);
      return nullptr;
    }
  }
  return names;
}

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

// Takes the value, which may be null.
bool add(PyObject* module, const char* name, PyObject* value) {
  const bool added = value != nullptr && PyModule_AddObjectRef(module, name, value) == 0;
  Py_XDECREF(value);
  return added;
}

torch::stable::Tensor new_tensor(torch::stable::Tensor like, fqt::rim::Sizes size, torch::headeronly::ScalarType dtype) {
  return fqt::rim::new_tensor(like, size, dtype);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(fqt_native, m) { m.def("new_tensor(Tensor like, int[] size, ScalarType dtype) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(fqt_native, CPU, m) { m.impl("new_tensor", TORCH_BOX(&new_tensor)); }

PyMODINIT_FUNC PyInit__native() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  if (!add(module, "KERNELS", kernel_tuple()) || !add(module, "CUDA_KERNELS", cuda_tuple()) ||
      !add(module, "USABLE", usable_list())) {
    Py_DECREF(module);
    return nullptr;
  }
  if (PyModule_AddIntConstant(module, "LEAST_GROUP_CHANNELS", fqt::least_group_channels) != 0 ||
      PyModule_AddIntConstant(module, "MOST_FORWARD_TERMS", fqt::most_forward_terms) != 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
