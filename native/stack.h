// One time step of a whole stack of layers in one direction, for many rows.
#pragma once

#include <vector>

#include "engine.h"

namespace unrolled {

template <class T>
struct StackLayer {
  Size size;
  const T* packed;
  bool residual;
  const CellOptions* options;  // of a general cell, else null
};

// Where the state of one layer stands; c is null but for LSTM. New may take the place of old.
template <class T>
struct StackState {
  Rows<const T> h, c;
  Rows<T> h_n, c_n;
};

// Row i of x and y goes with row index[i] of the states, or row i where `index` is null. An index
// names no row twice. y shares no memory with x or the states.
template <class T>
struct StackStep {
  int64_t rows;
  const int64_t* index;
  Rows<const T> x;
  Rows<T> y;
  const StackState<T>* states;  // [layers]
  bool backward;                // order of reading the weights
};

// Multiply-adds of one row.
template <class T>
int64_t step_work(const std::vector<StackLayer<T>>& layers);

template <class T>
void run_step(const Kernels<T>& table, const std::vector<StackLayer<T>>& layers,
              const StackStep<T>& call, Arena& arena);

}  // namespace unrolled
