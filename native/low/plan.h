// Low-precision weights in the order in which the kernels read them.
//
// A format F (bf16.h, int8.h) puts `F::per_word` neighbouring columns of one row of a weight into one
// 32-bit word. Panels, tiles and slots are those of packing.h with words in the place of values, so
// that a group of columns takes one vector of words per slot. Biases stay float32. Where the format
// has scales, each row of a weight has a factor and an integer from which its sum starts.
#pragma once

#include "packing.h"

namespace UNROLLED_ISA_NS {

using Word = uint32_t;

template <class F>
constexpr int64_t words_of(int64_t depth) {
  return (depth + F::per_word - 1) / F::per_word;
}

// One product of a phase: its packed words, and the factors and first sums where the format has them.
struct LowSide {
  int64_t depth, words;  // columns, and words that hold them
  int64_t at, scale, start;  // offsets

  template <class F>
  int64_t place(int64_t from, int64_t columns, int64_t vectors) {
    constexpr int lanes = kLanes<float>;
    depth = vectors > 0 ? columns : 0;
    words = words_of<F>(depth);
    at = from;
    scale = at + vectors * lanes * words;
    start = scale + (F::scaled ? vectors * lanes : 0);
    return start + (F::scaled ? vectors * lanes : 0);
  }
};

struct LowPhase {
  int64_t tiles, panels, bias;
  LowSide x, h;
};

template <class F, class C>
struct LowPlan {
  LowPhase phase[2];
  int64_t end = 0;

  explicit LowPlan(const Size& size) {
    for (int p = 0; p < C::phases; ++p) {
      LowPhase& plan = phase[p];
      plan.tiles = tiles_of<float>(size.hidden);
      plan.panels = (plan.tiles + C::phase[p].tiles - 1) / C::phase[p].tiles;
      end = plan.x.template place<F>(end, size.inputs, plan.tiles * C::phase[p].x_count);
      end = plan.h.template place<F>(end, size.hidden, plan.tiles * C::phase[p].h_count);
      plan.bias = end;
      end += plan.tiles * C::phase[p].slots * kLanes<float>;
    }
  }
};

template <class F>
void pack_side(const LowSide& side, const float* source, int64_t units, const int* gates, int count,
               int64_t first_tile, int tiles, float* packed) {
  constexpr int lanes = kLanes<float>;
  const int64_t before = first_tile * count * lanes;
  const int64_t stride = static_cast<int64_t>(tiles) * count * lanes;
  Word* panel = reinterpret_cast<Word*>(packed + side.at) + before * side.words;
  for (int vector = 0; vector < tiles * count; ++vector)
    for (int lane = 0; lane < lanes; ++lane) {
      const int64_t unit = (first_tile + vector / count) * lanes + lane;
      const int64_t at = vector * lanes + lane;
      const float* row =
          unit < units ? source + (gates[vector % count] * units + unit) * side.depth : nullptr;
      F::encode(row, side.depth, panel + at, stride, packed + side.scale + before + at,
                reinterpret_cast<int32_t*>(packed + side.start) + before + at);
    }
}

template <class F, class C>
void pack_low(const Size& size, const Weights<float>& weights, float* packed, int member,
              int members) {
  constexpr int lanes = kLanes<float>;
  const LowPlan<F, C> plan(size);
  for (int p = 0; p < C::phases; ++p) {
    const Phase phase = C::phase[p];
    const LowPhase& low = plan.phase[p];
    for (int64_t panel = member; panel < low.panels; panel += members) {
      const int64_t first = panel * phase.tiles, left = low.tiles - first;
      const int tiles = static_cast<int>(left < phase.tiles ? left : phase.tiles);
      pack_side<F>(low.x, weights.w_ih, size.hidden, phase.x_gate, phase.x_count, first, tiles,
                   packed);
      pack_side<F>(low.h, weights.w_hh, size.hidden, phase.h_gate, phase.h_count, first, tiles,
                   packed);
      pack_bias(phase, size.hidden, weights, first, tiles,
                packed + low.bias + first * phase.slots * lanes);
    }
  }
}

}  // namespace UNROLLED_ISA_NS
