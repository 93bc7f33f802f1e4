// The alphabet T, N, I, H, P, G and the structs in which a call travels from the binding to a kernel.
//
//   T time steps   N rows of the batch   I inputs   H hidden units   P width of h (H, or a projection)
//
// No bodies with code that differs between instruction sets: every set includes this header.
#pragma once

#include <cstdint>

namespace unrolled {

enum class Cell : int {
  rnn_tanh, rnn_relu, lstm, lstm_projected, gru_after, gru_before,
  // The same with CellOptions, in inference only.
  general_rnn, general_lstm, general_gru_after, general_gru_before
};

// The activation functions of ONNX's recurrent operators.
enum class Function : int {
  affine, elu, hard_sigmoid, leaky_relu, relu, scaled_tanh, sigmoid, softplus, softsign, tanh,
  thresholded_relu
};

struct Activation {
  Function function;
  double alpha, beta;
};

// What ONNX's recurrent operators may ask of one direction of a cell.
struct CellOptions {
  Activation f, g, h;  // of the gates, of the candidate, of c; the RNN has f only
  double clip;         // bounds the sums that f and g act on; infinity where there is none
  bool input_forget;   // LSTM: f = 1 - i
  bool peepholes;      // LSTM: the gates i f o see c
};

// A [T, N, width] array in any order of T and N; the last dimension is contiguous. Strides count
// elements.
template <class T>
struct Sequence {
  T* data;
  int64_t time, batch;
};

// Rows [N, width], contiguous in the last dimension; `data` may be null.
template <class T>
struct Rows {
  T* data;
  int64_t batch;
};

// The order of work for ragged rows: rows sorted by falling length, so that the rows still active
// at step s are a prefix. Row r of the sorted batch is row order[r] of the caller's.
struct Schedule {
  int64_t rows;                 // N
  int64_t steps;                // the longest length
  int64_t padded_steps;         // T of the arrays; beyond a row's length, output is zero
  const int64_t* order;         // [N]
  const int64_t* length;        // [N], sorted
  const int64_t* active;        // [steps + 1], rows with length > s; active[steps] = 0
  const int64_t* first_token;   // [steps + 1], tokens before step s
};

struct Size {
  Cell cell;
  int64_t inputs, hidden, outputs;  // I, H, P
};

// Weights of one direction as the caller holds them: rows contiguous, gates in PyTorch's order.
template <class T>
struct Weights {
  const T* w_ih;  // [G*H, I]
  const T* w_hh;  // [G*H, P]
  const T* b_ih;  // [G*H] or null
  const T* b_hh;
  const T* w_hr;  // [P, H] or null
  const T* peepholes = nullptr;  // [3, H] in the order i f o, or null
};

// All members of a team wait for each other. Zero to begin with.
struct Barrier {
  alignas(64) int arrived;
  alignas(64) int round;
};

// The part of a direction's work that one thread does: every `row_step`th row from `row_first`, and
// of each matrix the panels that are its member's share. Where panels are shared, steps end at the
// barrier; where rows are, no thread waits for another.
struct Share {
  int64_t row_first, row_step;
  int member, members;
  Barrier* barrier;
};

template <class T>
struct Forward {
  Size size;
  Schedule schedule;
  bool reverse;
  const T* packed;
  Sequence<const T> x;  // [T, N, I]
  Sequence<T> y;        // [T, N, P]
  Rows<const T> h0, c0;
  Rows<T> h_n, c_n;
  Rows<const T> mask;  // [N, P], multiplies h[t-1] in the recurrent product
  Sequence<T> cells;   // [T, N, H], c of every step, or null
  T* tape;             // [tokens, tape width] or null
  T* state;            // shared scratch of this direction
  const CellOptions* options;  // of a general cell, else null
};

// One step of one layer for a block of rows. Row i of x and y goes with row index[i] of the states
// (row i where there is no index). A new state may take the place of the old one.
template <class T>
struct Step {
  Size size;
  const T* packed;
  bool residual;  // y = h + x
  bool backward;  // read the weights from their end: alternating finds more of them in the cache
  int64_t rows;
  const int64_t* index;
  Rows<const T> x;
  Rows<T> y;
  Rows<const T> h, c;
  Rows<T> h_n, c_n;
  const CellOptions* options;  // of a general cell, else null
};

template <class T>
struct Backward {
  Size size;
  Schedule schedule;
  bool reverse;
  Weights<T> weights;
  const T* packed;  // by pack_backward
  Sequence<const T> x, y, dy;
  Sequence<const T> dcells;  // gradient of c of every step, or null
  Rows<const T> h0, c0, dh_n, dc_n, mask;
  const T* tape;
  Sequence<T> dx;  // data null where not wanted
  bool add_dx;     // two directions add to the same dx
  T *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr;
  Rows<T> dh0, dc0;
  T* flow;    // [tokens, 2, flow parts] squares of dL/dh and dL/dc, or null
  T* state;   // shared scratch of this direction
};

}  // namespace unrolled
