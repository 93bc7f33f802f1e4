// Weights as bfloat16: the upper half of a float32, rounded to nearest even. They are widened while
// they are multiplied; activations and sums are float32. A word holds column k in its lower half and
// column k + 1 in its upper half, so that widening is one shift or one mask for a whole vector.
#pragma once

#include <cstring>

#include "gemm.h"
#include "low/plan.h"

namespace UNROLLED_ISA_NS {

struct Bf16 {
  static constexpr int per_word = 2;
  static constexpr bool scaled = false;
  // Sums that registers hold, and panels read at once where there is one row.
  static constexpr int sums = kAccumulators, at_once = kAccumulators >= 24 ? 4 : 2;
  using Row = const float*;

  static int64_t code_bytes(int64_t) { return 0; }
  static Row row(const float* values, int64_t, void*) { return values; }

  static Word round(float value) {
    Word bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return (bits >> 16) | 0x40;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }

  static void encode(const float* row, int64_t depth, Word* to, int64_t stride, float*, int32_t*) {
    for (int64_t k = 0; k < depth; k += 2, to += stride) {
      if (row == nullptr) {
        *to = 0;
        continue;
      }
      *to = round(row[k]) | (k + 1 < depth ? round(row[k + 1]) << 16 : 0);
    }
  }

  // out[r] = in[r] + the product of row r and `count` panels of V vectors, `panel` words apart.
  template <int R, int V, int count>
  static void tile(const Row* rows, const Word* b, int64_t panel, int64_t depth, const float*,
                   const int32_t*, const float* in, int64_t in_stride, float* out,
                   int64_t out_stride, int64_t out_panel) {
    constexpr int lanes = kLanes<float>;
    F32 sum[R][count][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
          sum[r][p][v] = load(in + r * in_stride + p * out_panel + v * lanes);
    int64_t k = 0;
    for (; k + 1 < depth; k += 2, b += V * lanes) add<true>(sum, rows, k, b, panel);
    if (k < depth) add<false>(sum, rows, k, b, panel);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
          store(out + r * out_stride + p * out_panel + v * lanes, sum[r][p][v]);
  }

 private:
  template <bool both, int R, int V, int count>
  static UNROLLED_INLINE void add(F32 (&sum)[R][count][V], const Row* rows, int64_t k, const Word* b,
                                  int64_t panel) {
    constexpr int lanes = kLanes<float>;
#pragma GCC unroll 4
    for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const I32 pair = (I32)load(reinterpret_cast<const float*>(b + p * panel + v * lanes));
        const F32 low = (F32)(pair << 16);
        const F32 high = (F32)(pair & static_cast<int32_t>(0xffff0000u));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          sum[r][p][v] += splat<float>(rows[r][k]) * low;
          if constexpr (both) sum[r][p][v] += splat<float>(rows[r][k + 1]) * high;
        }
      }
  }
};

}  // namespace UNROLLED_ISA_NS
