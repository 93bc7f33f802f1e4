// What the binding files share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "engine.h"

namespace nb = nanobind;

namespace unrolled {

void bind_layers(nb::module_& m);
void bind_training(nb::module_& m);
void bind_crf(nb::module_& m);

inline void check(bool good, const std::string& message) {
  if (!good) throw std::invalid_argument(message);
}

// a * b * c, or an error where it does not fit.
inline int64_t checked_product(int64_t a, int64_t b, int64_t c = 1) {
  int64_t product = 0;
  check(!__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product),
        "the sizes of a layer overflow");
  return product;
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
