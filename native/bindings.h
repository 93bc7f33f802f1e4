// What the binding files share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "engine.h"

namespace nb = nanobind;

namespace unrolled {

// While one lives, other Python threads run. Unlike nanobind's own, a thread that finds the interpreter
// gone when it wants to go on stops here for good: before Python 3.14, taking the lock then ends the
// thread by unwinding its stack, which no C++ frame on the way survives.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

void bind_layers(nb::module_& m);
void bind_stepper(nb::module_& m);
void bind_training(nb::module_& m);
void bind_crf(nb::module_& m);
void bind_decoder(nb::module_& m);

// What a bound layer holds. It stays with the layer, which the caller keeps alive.
template <class T>
struct PackedView {
  const Kernels<T>* table;
  Size size;
  const T* packed;  // of the forward direction
  int directions;
  const CellOptions* options;  // of the forward direction
};
template <class T>
PackedView<T> packed_view(nb::handle layer);

inline void check(bool good, const std::string& message) {
  if (!good) throw std::invalid_argument(message);
}

// Throws where an array has not this shape.
template <class A>
void expect(const std::string& name, const A& array, std::initializer_list<int64_t> shape) {
  std::string wanted;
  bool same = array.ndim() == shape.size();
  size_t k = 0;
  for (const int64_t size : shape) {
    same = same && static_cast<int64_t>(array.shape(k++)) == size;
    wanted += (wanted.empty() ? "" : ", ") + std::to_string(size);
  }
  check(same, name + " must be [" + wanted + "]");
}

// a * b * c, or an error where it does not fit.
inline int64_t checked_product(int64_t a, int64_t b, int64_t c = 1) {
  int64_t product = 0;
  check(!__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product),
        "the sizes of a layer overflow");
  return product;
}

inline int64_t checked_sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  check(!__builtin_add_overflow(a, b, &sum), "the sizes of a layer overflow");
  return sum;
}

// Throws where an array or scratch memory of a layer would have more bytes than an address can tell.
// Nothing in the engine is larger than one of these products of T, N, I, H, P and D.
inline void check_sizes(const Size& size, int64_t steps, int64_t count, int64_t directions) {
  check(steps >= 0 && count >= 0 && size.inputs > 0 && size.hidden > 0 && size.outputs > 0 &&
            (directions == 1 || directions == 2),
        "a layer needs T, N >= 0, I, H, P > 0 and one or two directions");
  constexpr int64_t bytes = 64;
  const int64_t widest = size.hidden > size.outputs ? size.hidden : size.outputs;
  // Rows are padded to whole vectors, and scratch memory holds a block of tokens also where T is 0.
  const int64_t width = checked_sum(checked_product(6, widest, directions), 1024);
  const int64_t tokens = checked_product(checked_sum(steps, 1), checked_sum(count, 1024));
  checked_product(tokens, width, bytes);
  checked_product(tokens, size.inputs, bytes);
  const int64_t rows = checked_product(gates_of(size.cell), checked_sum(widest, 64));
  checked_product(rows, checked_sum(checked_sum(size.inputs, widest), 64), bytes);
}

inline Cell cell_by_name(const std::string& name, bool projected) {
  if (name == "lstm") return projected ? Cell::lstm_projected : Cell::lstm;
  check(!projected, "only an LSTM has a projection");
  if (name == "rnn_tanh") return Cell::rnn_tanh;
  if (name == "rnn_relu") return Cell::rnn_relu;
  if (name == "gru_after") return Cell::gru_after;
  if (name == "gru_before") return Cell::gru_before;
  throw std::invalid_argument("cell '" + name +
                              "': expected rnn_tanh, rnn_relu, lstm, gru_after or gru_before");
}

}  // namespace unrolled
