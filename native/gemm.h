// The micro-kernel and the packed panels it reads.
//
// A packed matrix B [K, columns] is cut into panels of up to 4 vectors of columns; a panel holds, for
// each k, its vectors side by side. The kernel computes for R rows and V vectors
//
//   out[r][v] = in[r][v] + sum_k a[r][k] * b[k][v]
//
// with all R * V sums in registers. Each sum is one chain over k in order, so a value depends neither
// on R and V nor on how rows and columns are shared among threads.
#pragma once

#include "simd.h"

namespace UNROLLED_ISA_NS {

constexpr int kPanelVectors = 4;
constexpr int kMaxRows = 8;

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAccumulators = 24;
#else
constexpr int kAccumulators = 12;
#endif

// Rows of one kernel call for panels of `vectors` vectors: as many as the registers hold.
constexpr int rows_for(int vectors) {
  const int rows = kAccumulators / vectors;
  return rows < kMaxRows ? rows : kMaxRows;
}

// How the kernel finds a[r][k].
enum class Left {
  rows,     // a row pointer each: rows[r][k]
  columns,  // rows of a transposed matrix: rows[0][k * ld + r]
};

template <class T, int R, int V, Left L>
void tile(const T* const* rows, int64_t ld, const T* b, int64_t depth, const T* in,
          int64_t in_stride, T* out, int64_t out_stride) {
  constexpr int lanes = kLanes<T>;
  const T* a[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) a[r] = L == Left::rows ? rows[r] : rows[0] + r;
  Vec<T> sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = load(in + r * in_stride + v * lanes);
  for (int64_t k = 0; k < depth; ++k) {
    const int64_t at = L == Left::rows ? k : k * ld;
    Vec<T> w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] = load(b + v * lanes);
    b += V * lanes;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> x = splat<T>(a[r][at]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += x * w[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(out + r * out_stride + v * lanes, sum[r][v]);
}

// One row and `count` panels (at most kPanelsOfRow) of V vectors, `panel` values apart: with one row a single panel has too
// few sums to hide the latency of a multiply-add. Sums are in the order of `tile`.
constexpr int kPanelsOfRow = kAccumulators >= 24 ? 4 : 2;

template <class T, int V, int count = kPanelsOfRow>
void row_tile(const T* row, const T* b, int64_t panel, int64_t depth, const T* in, T* out,
              int64_t out_panel) {
  constexpr int lanes = kLanes<T>;
  Vec<T> sum[count][V];
#pragma GCC unroll 4
  for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[p][v] = load(in + p * out_panel + v * lanes);
  for (int64_t k = 0; k < depth; ++k, b += V * lanes) {
    const Vec<T> x = splat<T>(row[k]);
#pragma GCC unroll 4
    for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[p][v] += x * load(b + p * panel + v * lanes);
  }
#pragma GCC unroll 4
  for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(out + p * out_panel + v * lanes, sum[p][v]);
}

template <class T>
using Tile = void (*)(const T* const*, int64_t, const T*, int64_t, const T*, int64_t, T*, int64_t);

template <class T, Left L, int V>
Tile<T> tile_for_rows(int rows) {
  switch (rows) {
    case 1: return tile<T, 1, V, L>;
    case 2: return tile<T, 2, V, L>;
    case 3: return tile<T, 3, V, L>;
    case 4: return tile<T, rows_for(V) >= 4 ? 4 : 1, V, L>;
    case 5: return tile<T, rows_for(V) >= 5 ? 5 : 1, V, L>;
    case 6: return tile<T, rows_for(V) >= 6 ? 6 : 1, V, L>;
    case 7: return tile<T, rows_for(V) >= 7 ? 7 : 1, V, L>;
    default: return tile<T, rows_for(V) >= 8 ? 8 : 1, V, L>;
  }
}

// The kernel for `rows` <= rows_for(vectors) rows.
template <class T, Left L>
Tile<T> tile_for(int rows, int vectors) {
  switch (vectors) {
    case 1: return tile_for_rows<T, L, 1>(rows);
    case 2: return tile_for_rows<T, L, 2>(rows);
    case 3: return tile_for_rows<T, L, 3>(rows);
    default: return tile_for_rows<T, L, 4>(rows);
  }
}

}  // namespace UNROLLED_ISA_NS
