// The Python face of the engine. Everything Python is in this file; sizes are checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "dispatch.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace unrolled {
namespace {

Unary unary_by_name(const std::string& name) {
  if (name == "exp") return Unary::exp;
  if (name == "tanh") return Unary::tanh;
  if (name == "sigmoid") return Unary::sigmoid;
  throw std::invalid_argument("function '" + name + "': expected exp, tanh or sigmoid");
}

template <class T>
using Flat = nb::ndarray<nb::numpy, T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
void elementwise(const std::string& name, Flat<const T> x, Flat<T> out) {
  if (x.shape(0) != out.shape(0))
    throw std::invalid_argument("out has " + std::to_string(out.shape(0)) + " values, expected " +
                                std::to_string(x.shape(0)));
  const Unary op = unary_by_name(name);
  const Kernels<T>& table = kernels<T>();
  nb::gil_scoped_release release;
  table.unary(op, x.data(), out.data(), static_cast<int64_t>(x.shape(0)));
}

}  // namespace
}  // namespace unrolled

NB_MODULE(_native, m) {
  m.def("isa", [] { return std::string(unrolled::current_isa().name); });
  m.def("available_isas", &unrolled::available_isas);
  m.def("set_isa", &unrolled::set_isa, "name"_a);
  m.def("num_threads", &unrolled::num_threads);
  m.def("set_num_threads", &unrolled::set_num_threads, "count"_a);
  m.def("available_cores", &unrolled::available_cores);
  m.def("elementwise", &unrolled::elementwise<float>, "function"_a, "x"_a, "out"_a);
  m.def("elementwise", &unrolled::elementwise<double>, "function"_a, "x"_a, "out"_a);
}
