// Products of rows of activations and low-precision weights, and the cell applied to them.
#pragma once

#include <cstring>

#include "cells/cell.h"
#include "low/plan.h"
#include "team.h"

namespace UNROLLED_ISA_NS {

// Rows as the format's kernels read them, with room for their codes where it has any.
template <class F>
struct LowRows {
  typename F::Row* rows;
  char* codes;
  int64_t depth, bytes;

  LowRows(Carver& carver, int64_t count, int64_t columns) : depth(columns) {
    bytes = (F::code_bytes(columns) + 63) / 64 * 64;
    rows = carver.take<typename F::Row>(count);
    codes = carver.take<char>(count * bytes);
  }
  void set(int64_t i, const float* values) const {
    rows[i] = F::row(values, depth, codes + i * bytes);
  }
};

template <class F>
using LowTile = void (*)(const typename F::Row*, const Word*, int64_t, int64_t, const float*,
                         const int32_t*, const float*, int64_t, float*, int64_t, int64_t);

template <class F>
constexpr int low_rows_for(int vectors) {
  const int rows = F::sums / vectors;
  return rows < 1 ? 1 : (rows < kMaxRows ? rows : kMaxRows);
}

template <class F, int V>
LowTile<F> low_tile_for_rows(int rows) {
  constexpr int most = low_rows_for<F>(V);
  switch (rows) {
    case 1: return F::template tile<1, V, 1>;
    case 2: return F::template tile<most >= 2 ? 2 : 1, V, 1>;
    case 3: return F::template tile<most >= 3 ? 3 : 1, V, 1>;
    case 4: return F::template tile<most >= 4 ? 4 : 1, V, 1>;
    case 5: return F::template tile<most >= 5 ? 5 : 1, V, 1>;
    case 6: return F::template tile<most >= 6 ? 6 : 1, V, 1>;
    case 7: return F::template tile<most >= 7 ? 7 : 1, V, 1>;
    default: return F::template tile<most >= 8 ? 8 : 1, V, 1>;
  }
}

// The kernel for `rows` <= low_rows_for(vectors) rows of one panel.
template <class F>
LowTile<F> low_tile_for(int rows, int vectors) {
  switch (vectors) {
    case 1: return low_tile_for_rows<F, 1>(rows);
    case 2: return low_tile_for_rows<F, 2>(rows);
    case 3: return low_tile_for_rows<F, 3>(rows);
    default: return low_tile_for_rows<F, 4>(rows);
  }
}

template <class F, class C>
class LowProducts {
 public:
  LowProducts(const Size& size, const float* packed)
      : plan(size), units_(size.hidden), packed_(packed) {}

  // sums[i] = bias + W_ih x[i] for `count` rows, the panels [panels.begin, panels.end).
  template <int P>
  void input(const LowRows<F>& x, int64_t count, Range panels, float* sums) const {
    constexpr Phase phase = C::phase[P];
    const int64_t width = this->width<P>(), narrow = phase.tiles * phase.slots * lanes;
    const float* bias = packed_ + plan.phase[P].bias;
    int64_t wide = 0;
    for (int64_t panel = panels.begin; panel < panels.end; panel += wide) {
      wide = count == 1 ? group<P>(panel, panels.end) : 1;
      const int64_t from = panel * narrow, left = width - from;
      const int64_t values = left < wide * narrow ? left : wide * narrow;
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(sums + i * width + from, bias + from,
                    static_cast<size_t>(values) * sizeof(float));
      product<P, phase.x_count, phase.x_first>(plan.phase[P].x, x.rows, count, panel, wide, sums);
    }
  }

  // sums[i] += W_hh from[i], and then the cell. Row i is row first[i] of the state.
  template <int P, class RowOf>
  void recurrent(const ForwardStep<float>& context, const LowRows<F>& from, int64_t count,
                 Range panels, bool backward, float* sums, RowOf row_of) const {
    constexpr Phase phase = C::phase[P];
    const int64_t most = F::at_once, groups = (panels.end - panels.begin + most - 1) / most;
    for (int64_t g = 0; g < groups; ++g) {
      int64_t panel = panels.begin + (backward ? groups - 1 - g : g) * most;
      const int64_t end = panel + most < panels.end ? panel + most : panels.end;
      for (int64_t wide = 0; panel < end; panel += wide) {
        wide = count == 1 ? group<P>(panel, end) : 1;
        product<P, phase.h_count, phase.h_first>(plan.phase[P].h, from.rows, count, panel, wide,
                                                 sums);
        apply<P>(context, count, panel * phase.tiles, (panel + wide) * phase.tiles, sums, row_of);
      }
    }
  }

  // Values of a row of sums.
  template <int P>
  int64_t width() const {
    return plan.phase[P].tiles * C::phase[P].slots * lanes;
  }

  const LowPlan<F, C> plan;

 private:
  static constexpr int lanes = kLanes<float>;

  // Whole panels from `panel` on that one call may read for a single row.
  template <int P>
  int64_t group(int64_t panel, int64_t end) const {
    const int64_t full = plan.phase[P].tiles / C::phase[P].tiles;
    const int64_t left = (full < end ? full : end) - panel;
    if (left >= F::at_once) return F::at_once;
    return F::at_once > 2 && left >= 2 ? 2 : 1;
  }

  template <int P, int per_tile, int slot>
  void product(const LowSide& side, const typename F::Row* rows, int64_t count, int64_t panel,
               int64_t wide, float* sums) const {
    constexpr Phase phase = C::phase[P];
    constexpr int whole = phase.tiles * per_tile;
    const int64_t first = panel * phase.tiles, left = plan.phase[P].tiles - first;
    const int vectors = static_cast<int>(left < phase.tiles ? left : phase.tiles) * per_tile;
    const int64_t before = first * per_tile * lanes, stride = width<P>();
    const Word* words = reinterpret_cast<const Word*>(packed_ + side.at) + before * side.words;
    const float* scale = packed_ + side.scale + before;
    const int32_t* start = reinterpret_cast<const int32_t*>(packed_ + side.start) + before;
    float* at = sums + (first * phase.slots + slot) * lanes;
    const int most = wide > 1 ? 1 : low_rows_for<F>(vectors);
    for (int64_t i = 0; i < count;) {
      const int64_t rest = count - i, calls = (rest + most - 1) / most;
      const int now = static_cast<int>((rest + calls - 1) / calls);
      LowTile<F> tile = nullptr;
      if (wide == 1) {
        tile = low_tile_for<F>(now, vectors);
      } else {
        tile = wide == 2 ? F::template tile<1, whole, F::at_once >= 2 ? 2 : 1>
                         : F::template tile<1, whole, F::at_once>;
      }
      tile(rows + i, words, whole * lanes * side.words, side.depth, scale, start, at + i * stride,
           stride, at + i * stride, stride, phase.tiles * phase.slots * lanes);
      i += now;
    }
  }

  template <int P, class RowOf>
  void apply(const ForwardStep<float>& context, int64_t count, int64_t tile, int64_t end,
             const float* sums, RowOf row_of) const {
    constexpr int slots = C::phase[P].slots;
    if (end > plan.phase[P].tiles) end = plan.phase[P].tiles;
    for (int64_t i = 0; i < count; ++i)
      apply_cell<float, C, P>(context, row_of(i), i, tile * lanes, static_cast<int>(end - tile),
                              units_, sums + i * width<P>() + tile * slots * lanes);
  }

  const int64_t units_;
  const float* packed_;
};

}  // namespace UNROLLED_ISA_NS
