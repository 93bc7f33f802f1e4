// What a decoder's step is made of, for one instruction set: products with packed matrices, scores,
// weighted sums, and the pointwise part of a cell whose sums stand in two rows.
#pragma once

#include "functions.h"
#include "gemm.h"
#include "kernels.h"
#include "packing.h"

namespace UNROLLED_ISA_NS {

// A matrix [depth, columns] as panels of kPanelVectors vectors, the last one narrower.
template <class T>
int64_t matrix_size(int64_t depth, int64_t columns) {
  return depth * padded<T>(columns);
}

template <class T>
void pack_matrix(const T* source, int64_t depth, int64_t columns, T* packed) {
  const int64_t vectors = tiles_of<T>(columns);
  for (int64_t v = 0; v < vectors; v += kPanelVectors) {
    const int count = static_cast<int>(vectors - v < kPanelVectors ? vectors - v : kPanelVectors);
    pack_columns(source, columns, depth, columns, v * kLanes<T>, count,
                 packed + v * kLanes<T> * depth);
  }
}

// One row: several panels at once, so that there are enough independent sums.
template <class T>
void multiply_row(const T* packed, int64_t depth, int64_t vectors, const T* row, const T* in,
                  T* out) {
  constexpr int V = kPanelVectors;
  constexpr int64_t width = V * kLanes<T>;
  const int64_t panel = width * depth, full = vectors / V;
  int64_t p = 0;
  for (; p + kPanelsOfRow <= full; p += kPanelsOfRow)
    row_tile<T, V, kPanelsOfRow>(row, packed + p * panel, panel, depth, in + p * width,
                                 out + p * width, width);
  for (; p < full; ++p)
    row_tile<T, V, 1>(row, packed + p * panel, panel, depth, in + p * width, out + p * width, width);
  const int rest = static_cast<int>(vectors - full * V);
  if (rest > 0)
    tile_for<T, Left::rows>(1, rest)(&row, 0, packed + p * panel, depth, in + p * width, 0,
                                     out + p * width, 0);
}

// Depth of a panel's part that stays in the first cache while all rows pass by.
constexpr int64_t kNearDepth = 32768 / (kPanelVectors * kVectorBytes);

// out[i] = in[i] + rows[i] B in whole vectors; `in` may be `out`, and with a stride of 0 one row.
template <class T>
void multiply(const T* packed, int64_t depth, int64_t columns, const T* const* rows, int64_t count,
              const T* in, int64_t in_stride, T* out, int64_t out_stride) {
  const int64_t vectors = tiles_of<T>(columns);
  if (count == 1) return multiply_row(packed, depth, vectors, rows[0], in, out);
  for (int64_t v = 0; v < vectors; v += kPanelVectors) {
    const int wide = static_cast<int>(vectors - v < kPanelVectors ? vectors - v : kPanelVectors);
    const int most = rows_for(wide);
    const int64_t at = v * kLanes<T>;
    for (int64_t k = 0; k < depth; k += kNearDepth) {
      const int64_t part = depth - k < kNearDepth ? depth - k : kNearDepth;
      const T* const panel = packed + at * depth + k * wide * kLanes<T>;
      const T* const before = k == 0 ? in : out;
      const int64_t stride = k == 0 ? in_stride : out_stride;
      for (int64_t i = 0; i < count;) {
        const int64_t rest = count - i, calls = (rest + most - 1) / most;
        const int taken = static_cast<int>((rest + calls - 1) / calls);
        const T* from[kMaxRows];
        for (int r = 0; r < taken; ++r) from[r] = rows[i + r] + k;
        tile_for<T, Left::rows>(taken, wide)(from, 0, panel, part, before + i * stride + at, stride,
                                             out + i * out_stride + at, out_stride);
        i += taken;
      }
    }
  }
}

template <class T>
UNROLLED_INLINE T sum_of(Vec<T> v) {
  T sum = 0;
  for (int lane = 0; lane < kLanes<T>; ++lane) sum += v[lane];
  return sum;
}

// Calls f(offset, lanes of this vector) over `width` values.
template <class T, class F>
UNROLLED_INLINE void each_vector(int64_t width, F f) {
  int64_t j = 0;
  for (; j + kLanes<T> <= width; j += kLanes<T>) f(j, kLanes<T>);
  if (j < width) f(j, static_cast<int>(width - j));
}

// scores[s] = v . tanh(query + key[s]), or query . key[s] where there is no v.
template <class T>
void score(const T* query, const T* v, const T* keys, int64_t stride, int64_t steps, int64_t width,
           T* scores) {
  for (int64_t s = 0; s < steps; ++s, keys += stride) {
    Vec<T> sum{};
    each_vector<T>(width, [&](int64_t j, int lanes) UNROLLED_LAMBDA {
      const Vec<T> q = get(query + j, lanes), k = get(keys + j, lanes);
      sum += v != nullptr ? get(v + j, lanes) * tanh<T>(q + k) : q * k;
    });
    scores[s] = sum_of<T>(sum);
  }
}

// exp(x - max x), and its sum.
template <class T>
T exponentials(const T* x, int64_t n, T* out, T* largest) {
  T most = x[0];
  for (int64_t i = 1; i < n; ++i) most = x[i] > most || x[i] != x[i] ? x[i] : most;
  Vec<T> sum{};
  each_vector<T>(n, [&](int64_t j, int lanes) UNROLLED_LAMBDA {
    const Vec<T> e = exp<T>(get(x + j, lanes) - most);
    put(out + j, e, lanes);
    sum += get(out + j, lanes);
  });
  *largest = most;
  return sum_of<T>(sum);
}

template <class T>
void softmax(T* x, int64_t n) {
  T largest;
  const T sum = exponentials(x, n, x, &largest);
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
}

// x - max x - log sum exp(x - max x); `scratch` holds n values.
template <class T>
void log_softmax(T* x, int64_t n, T* scratch) {
  T largest;
  const T sum = exponentials(x, n, scratch, &largest);
  const T log_sum = static_cast<T>(__builtin_log(static_cast<double>(sum)));
  for (int64_t i = 0; i < n; ++i) x[i] = (x[i] - largest) - log_sum;
}

// out += sum_s weights[s] rows[s].
template <class T>
void add_weighted(const T* weights, const T* rows, int64_t stride, int64_t steps, int64_t width,
                  T* out) {
  constexpr int V = kPanelVectors, lanes = kLanes<T>;
  int64_t j = 0;
  for (; j + V * lanes <= width; j += V * lanes) {
    Vec<T> sum[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[v] = load(out + j + v * lanes);
    for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[v] += weights[s] * load(rows + s * stride + j + v * lanes);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(out + j + v * lanes, sum[v]);
  }
  each_vector<T>(width - j, [&](int64_t k, int count) UNROLLED_LAMBDA {
    Vec<T> sum = get(out + j + k, count);
    for (int64_t s = 0; s < steps; ++s) sum += weights[s] * get(rows + s * stride + j + k, count);
    put(out + j + k, sum, count);
  });
}

// y += x.
template <class T>
void add(const T* x, T* y, int64_t n) {
  each_vector<T>(n, [&](int64_t j, int lanes) UNROLLED_LAMBDA {
    put(y + j, get(y + j, lanes) + get(x + j, lanes), lanes);
  });
}

// The pointwise part of one row: sums of the input `given` and of the state `held`, biases included,
// G blocks of H each; h and c are replaced. GRU has its reset gate after the recurrent product.
template <class T>
void pointwise(unrolled::Cell cell, const T* given, const T* held, int64_t H, T* h, T* c) {
  using V = Vec<T>;
  each_vector<T>(H, [&](int64_t j, int lanes) UNROLLED_LAMBDA {
    const auto x = [&](int g) UNROLLED_LAMBDA { return get(given + g * H + j, lanes); };
    const auto r = [&](int g) UNROLLED_LAMBDA { return get(held + g * H + j, lanes); };
    if (cell == unrolled::Cell::gru_after) {
      const V reset = sigmoid<T>(x(0) + r(0)), update = sigmoid<T>(x(1) + r(1));
      const V candidate = tanh<T>(x(2) + reset * r(2));
      put(h + j, candidate + update * (get(h + j, lanes) - candidate), lanes);
    } else if (cell == unrolled::Cell::lstm) {
      const V in = sigmoid<T>(x(0) + r(0)), forget = sigmoid<T>(x(1) + r(1));
      const V after = forget * get(c + j, lanes) + in * tanh<T>(x(2) + r(2));
      put(c + j, after, lanes);
      put(h + j, sigmoid<T>(x(3) + r(3)) * tanh<T>(after), lanes);
    } else {
      const V sum = x(0) + r(0);
      put(h + j, cell == unrolled::Cell::rnn_relu ? at_least(sum, V{}) : tanh<T>(sum), lanes);
    }
  });
}

template <class T>
constexpr unrolled::DecoderParts<T> decoder_parts() {
  return {matrix_size<T>, pack_matrix<T>,  multiply<T>, score<T>,    softmax<T>,
          log_softmax<T>, add_weighted<T>, add<T>,      pointwise<T>};
}

}  // namespace UNROLLED_ISA_NS
