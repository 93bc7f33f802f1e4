// One layer of a training step, called by `unrolled.ops.native` with the addresses of its tensors.
//
// A torch tensor costs microseconds to pass as an array and next to nothing as an address, so these
// two functions take addresses and strides; `ops/native.py` has checked shapes, dtypes and devices of
// the tensors they come from, and the sizes are checked here against each other.
#include "bindings.h"
#include "dispatch.h"
#include "engine.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

namespace unrolled {
namespace {

using Addresses = std::vector<uintptr_t>;
using Strided = std::tuple<uintptr_t, int64_t, int64_t>;  // address, time stride, batch stride
// cell, T, N, I, H, P, D
using Sizes = std::tuple<std::string, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
Sequence<T> sequence(const Strided& s, int64_t offset) {
  T* data = at<T>(std::get<0>(s));
  return {data == nullptr ? nullptr : data + offset, std::get<1>(s), std::get<2>(s)};
}

// Row n of direction d of a contiguous [D, N, width] array.
template <class T>
Rows<T> rows(uintptr_t address, int64_t direction, int64_t count, int64_t width) {
  T* data = at<T>(address);
  return {data == nullptr ? nullptr : data + direction * count * width, width};
}

template <class T>
Weights<T> weights(const Addresses& addresses, int64_t direction) {
  const auto* w = addresses.data() + 5 * direction;
  return {at<const T>(w[0]), at<const T>(w[1]), at<const T>(w[2]), at<const T>(w[3]),
          at<const T>(w[4])};
}

struct Layer {
  Size size;
  int64_t steps, count, directions;
  explicit Layer(const Sizes& sizes) {
    const auto& [cell, T, N, I, H, P, D] = sizes;
    size = {cell_by_name(cell, P != H), I, H, P};
    check_sizes(size, T, N, D);
    steps = T, count = N, directions = D;
  }
  bool lstm() const { return size.cell == Cell::lstm || size.cell == Cell::lstm_projected; }
};

// An array with values in it has an address.
void need_array(const char* name, uintptr_t address, int64_t values) {
  check(address != 0 || values == 0, std::string(name) + " is missing");
}

// The same of a sequence, whose strides must be able to reach its last row.
void need_sequence(const char* name, const Strided& s, const Layer& layer) {
  need_array(name, std::get<0>(s), layer.steps * layer.count);
  checked_product(std::get<1>(s), layer.steps, 16);
  checked_product(std::get<2>(s), layer.count, 16);
}

void need(const Addresses& addresses, const Layer& layer) {
  check(addresses.size() == static_cast<size_t>(5 * layer.directions),
        "a layer needs five weights per direction");
  for (int64_t d = 0; d < layer.directions; ++d) {
    check(addresses[5 * d] != 0 && addresses[5 * d + 1] != 0, "weight_ih or weight_hh is missing");
    check((addresses[5 * d + 4] != 0) == (layer.size.cell == Cell::lstm_projected),
          "weight_hr goes with a projection");
  }
}

template <class T>
void forward(const Sizes& sizes, uintptr_t lengths, const Strided& x, const Addresses& parameters,
             uintptr_t h0, uintptr_t c0, uintptr_t mask, const Strided& y, uintptr_t h_n,
             uintptr_t c_n, const Strided& cells, uintptr_t tape) {
  const Layer layer(sizes);
  need(parameters, layer);
  need_sequence("x", x, layer);
  need_sequence("y", y, layer);
  need_array("h_n", h_n, layer.count);
  need_array("c_n", c_n, layer.lstm() ? layer.count : 0);
  const int64_t N = layer.count, P = layer.size.outputs, H = layer.size.hidden;
  const Kernels<T>& table = kernels<T>();
  const WithoutGil release;
  const OwnedSchedule schedule(at<const int64_t>(lengths), N, layer.steps);
  Arena& arena = Arena::of_this_thread();
  arena.begin();
  Forward<T> calls[2] = {};
  Weights<T> each[2] = {};
  for (int64_t d = 0; d < layer.directions; ++d) {
    Forward<T>& call = calls[d];
    call.size = layer.size;
    call.schedule = schedule.get();
    call.reverse = d == 1;
    call.x = sequence<const T>(x, 0);
    call.y = sequence<T>(y, d * P);
    call.h0 = rows<const T>(h0, d, N, P);
    call.c0 = rows<const T>(c0, d, N, H);
    call.h_n = rows<T>(h_n, d, N, P);
    call.c_n = rows<T>(c_n, d, N, H);
    call.mask = rows<const T>(mask, d, N, P);
    call.cells = sequence<T>(cells, d * H);
    if (tape != 0)
      call.tape = at<T>(tape) + d * schedule.tokens() * table.tape_width(layer.size);
    each[d] = weights<T>(parameters, d);
  }
  run_forward(table, calls, each, static_cast<int>(layer.directions), arena);
}

template <class T>
void backward(const Sizes& sizes, uintptr_t lengths, const Strided& x, const Addresses& parameters,
              uintptr_t h0, uintptr_t c0, uintptr_t mask, const Strided& y, uintptr_t tape,
              const Strided& dy, uintptr_t dh_n, uintptr_t dc_n, const Strided& dcells,
              const Strided& dx, const Addresses& gradients, uintptr_t dh0, uintptr_t dc0,
              uintptr_t flow) {
  const Layer layer(sizes);
  need(parameters, layer);
  check(gradients.size() == parameters.size(), "a layer has as many gradients as weights");
  need_sequence("x", x, layer);
  need_sequence("y", y, layer);
  need_sequence("dy", dy, layer);
  const int64_t N = layer.count, P = layer.size.outputs, H = layer.size.hidden;
  const Kernels<T>& table = kernels<T>();
  const WithoutGil release;
  const OwnedSchedule schedule(at<const int64_t>(lengths), N, layer.steps);
  const int64_t tape_values = schedule.tokens() * table.tape_width(layer.size);
  need_array("tape", tape, tape_values);
  Arena& arena = Arena::of_this_thread();
  arena.begin();
  Backward<T> calls[2] = {};
  for (int64_t d = 0; d < layer.directions; ++d) {
    Backward<T>& call = calls[d];
    call.size = layer.size;
    call.schedule = schedule.get();
    call.reverse = d == 1;
    call.weights = weights<T>(parameters, d);
    call.x = sequence<const T>(x, 0);
    call.y = sequence<const T>(y, d * P);
    call.dy = sequence<const T>(dy, d * P);
    call.dcells = sequence<const T>(dcells, d * H);
    call.h0 = rows<const T>(h0, d, N, P);
    call.c0 = rows<const T>(c0, d, N, H);
    call.dh_n = rows<const T>(dh_n, d, N, P);
    call.dc_n = rows<const T>(dc_n, d, N, H);
    call.mask = rows<const T>(mask, d, N, P);
    call.tape = tape == 0 ? nullptr : at<const T>(tape) + d * tape_values;
    call.dx = sequence<T>(dx, 0);
    call.add_dx = layer.directions == 2;
    const auto* g = gradients.data() + 5 * d;
    call.dw_ih = at<T>(g[0]);
    call.dw_hh = at<T>(g[1]);
    call.db_ih = at<T>(g[2]);
    call.db_hh = at<T>(g[3]);
    call.dw_hr = at<T>(g[4]);
    call.dh0 = rows<T>(dh0, d, N, P);
    call.dc0 = rows<T>(dc0, d, N, H);
  }
  run_backward(table, calls, static_cast<int>(layer.directions), at<T>(flow), arena);
}

}  // namespace

void bind_training(nb::module_& m) {
  m.def("layer_forward_f32", &forward<float>);
  m.def("layer_forward_f64", &forward<double>);
  m.def("layer_backward_f32", &backward<float>);
  m.def("layer_backward_f64", &backward<double>);
  m.def("tape_width", [](const std::string& cell, int64_t hidden, int64_t outputs) {
    check_sizes({cell_by_name(cell, hidden != outputs), 1, hidden, outputs}, 0, 0, 1);
    return kernels<float>().tape_width({cell_by_name(cell, hidden != outputs), 1, hidden, outputs});
  });
}

}  // namespace unrolled
