// The Python face of the engine. Everything Python is in the bindings files; sizes are checked here.
#include "bindings.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "dispatch.h"
#include "engine.h"
#include "openmp.h"
#include "pool.h"

namespace unrolled {
namespace {

Unary unary_by_name(const std::string& name) {
  if (name == "exp") return Unary::exp;
  if (name == "tanh") return Unary::tanh;
  if (name == "sigmoid") return Unary::sigmoid;
  if (name == "elu") return Unary::elu;
  if (name == "softplus") return Unary::softplus;
  if (name == "softsign") return Unary::softsign;
  throw std::invalid_argument("function '" + name +
                              "': expected exp, tanh, sigmoid, elu, softplus or softsign");
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
  const WithoutGil release;
  table.unary(op, x.data(), out.data(), static_cast<int64_t>(x.shape(0)));
}

}  // namespace
}  // namespace unrolled

NB_MODULE(_native, m) {
  // A thread that is still in a call when the interpreter ends keeps its layer: no fault of anyone's.
  nb::set_leak_warnings(false);
  m.def("isa", [] { return std::string(unrolled::current_isa().name); });
  m.def("available_isas", &unrolled::available_isas);
  m.def("set_isa", &unrolled::set_isa, nb::arg("name"));
  m.def("int8_instructions", &unrolled::int8_instructions);
  m.def("num_threads", &unrolled::num_threads);
  m.def("set_num_threads", &unrolled::set_num_threads, nb::arg("count"));
  m.def("available_cores", &unrolled::available_cores);
  m.def("borrow_openmp", &unrolled::borrow_openmp, nb::arg("folder"));
  m.def("openmp_path", &unrolled::openmp_path);
  m.def("poison_scratch", &unrolled::Arena::set_poison, nb::arg("on"));
  m.def("share_always", &unrolled::share_always, nb::arg("on"));
  m.def("elementwise", &unrolled::elementwise<float>, nb::arg("function"), nb::arg("x").noconvert(),
        nb::arg("out").noconvert());
  m.def("elementwise", &unrolled::elementwise<double>, nb::arg("function"), nb::arg("x").noconvert(),
        nb::arg("out").noconvert());
  unrolled::bind_layers(m);
  unrolled::bind_stepper(m);
  unrolled::bind_training(m);
  unrolled::bind_crf(m);
  unrolled::bind_decoder(m);
}
