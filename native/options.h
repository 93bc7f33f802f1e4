// From what Python says of a cell's options to `CellOptions`, with every check.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "shapes.h"

namespace unrolled {

// An activation by its ONNX name, with alpha and beta.
using NamedActivation = std::tuple<std::string, double, double>;

inline Activation activation_of(const NamedActivation& named) {
  static constexpr struct {
    const char* name;
    Function function;
  } known[] = {
      {"Affine", Function::affine},
      {"Elu", Function::elu},
      {"HardSigmoid", Function::hard_sigmoid},
      {"LeakyRelu", Function::leaky_relu},
      {"Relu", Function::relu},
      {"ScaledTanh", Function::scaled_tanh},
      {"Sigmoid", Function::sigmoid},
      {"Softplus", Function::softplus},
      {"Softsign", Function::softsign},
      {"Tanh", Function::tanh},
      {"ThresholdedRelu", Function::thresholded_relu},
  };
  const auto& [name, alpha, beta] = named;
  std::string names;
  for (const auto& each : known) {
    if (name == each.name) {
      if (!std::isfinite(alpha) || !std::isfinite(beta))
        throw std::invalid_argument("alpha and beta of " + name + " must be finite");
      return {each.function, alpha, beta};
    }
    names += (names.empty() ? "" : ", ") + std::string(each.name);
  }
  throw std::invalid_argument("activation '" + name + "': expected one of " + names);
}

// The cell that takes options in place of a standard one.
inline Cell general_cell(Cell cell) {
  switch (cell) {
    case Cell::rnn_tanh:
    case Cell::rnn_relu: return Cell::general_rnn;
    case Cell::lstm: return Cell::general_lstm;
    case Cell::gru_after: return Cell::general_gru_after;
    case Cell::gru_before: return Cell::general_gru_before;
    default: throw std::invalid_argument("a layer with a projection takes no options");
  }
}

// The options of one direction of a standard cell. Without `activations` f, g and h are the cell's
// own; given, there is one for an RNN, two for a GRU, three for an LSTM.
inline CellOptions cell_options(Cell cell, const std::vector<NamedActivation>* activations,
                                std::optional<double> clip, bool input_forget, bool peepholes) {
  const Cell general = general_cell(cell);
  const bool lstm = general == Cell::general_lstm, rnn = general == Cell::general_rnn;
  const Activation gate{Function::sigmoid, 0, 0}, squash{Function::tanh, 0, 0};
  const Activation first = cell == Cell::rnn_tanh   ? squash
                           : cell == Cell::rnn_relu ? Activation{Function::relu, 0, 0}
                                                    : gate;
  CellOptions options{first, squash, squash, std::numeric_limits<double>::infinity(), input_forget,
                      peepholes};
  if (activations != nullptr) {
    const size_t wanted = rnn ? 1 : lstm ? 3 : 2;
    if (activations->size() != wanted)
      throw std::invalid_argument("activations must be " + std::to_string(wanted) +
                                  " for each direction of this cell, got " +
                                  std::to_string(activations->size()));
    Activation* const to[] = {&options.f, &options.g, &options.h};
    for (size_t k = 0; k < wanted; ++k) *to[k] = activation_of((*activations)[k]);
  }
  if (clip) {
    if (!(*clip > 0)) throw std::invalid_argument("clip must be above 0");
    options.clip = *clip;
  }
  if ((input_forget || peepholes) && !lstm)
    throw std::invalid_argument("input_forget and peepholes are for an LSTM only");
  return options;
}

}  // namespace unrolled
