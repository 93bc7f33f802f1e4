// Weights laid out in the order in which the micro-kernel reads them.
#pragma once

#include "cells/cell.h"

namespace UNROLLED_ISA_NS {

using unrolled::Weights;

template <class T>
constexpr int64_t tiles_of(int64_t units) {
  return (units + kLanes<T> - 1) / kLanes<T>;
}
template <class T>
constexpr int64_t padded(int64_t units) {
  return tiles_of<T>(units) * kLanes<T>;
}

// Distance between rows of scratch: whole vectors, and not a multiple of the page size, which would
// put the same column of all rows into one cache set.
template <class T>
constexpr int64_t row_stride(int64_t columns) {
  const int64_t stride = padded<T>(columns);
  return stride % 512 == 0 ? stride + kLanes<T> : stride;
}

// Where the parts of one phase stand in the packed weights of a direction.
template <class T>
struct PhasePlan {
  int64_t units, tiles, panels;
  int64_t x_depth, h_depth;
  int64_t x, h, bias, end;  // offsets

  template <class C>
  static constexpr PhasePlan of(const Size& size, int index, int64_t start) {
    const Phase phase = C::phase[index];
    PhasePlan plan{};
    const bool projection = C::projected && index == 1;
    plan.units = projection ? size.outputs : size.hidden;
    plan.tiles = tiles_of<T>(plan.units);
    plan.panels = (plan.tiles + phase.tiles - 1) / phase.tiles;
    plan.x_depth = phase.x_count > 0 ? size.inputs : 0;
    plan.h_depth = index == 0 ? size.outputs : size.hidden;
    plan.x = start;
    plan.h = plan.x + plan.tiles * phase.x_count * kLanes<T> * plan.x_depth;
    plan.bias = plan.h + plan.tiles * phase.h_count * kLanes<T> * plan.h_depth;
    plan.end = plan.bias + plan.tiles * phase.slots * kLanes<T>;
    return plan;
  }
};

template <class T, class C>
struct Plan {
  PhasePlan<T> phase[2];
  int64_t peepholes, end;  // offsets
  explicit Plan(const Size& size) {
    phase[0] = PhasePlan<T>::template of<C>(size, 0, 0);
    if (C::phases == 2) phase[1] = PhasePlan<T>::template of<C>(size, 1, phase[0].end);
    peepholes = phase[C::phases - 1].end;
    end = peepholes + C::peepholes * padded<T>(size.hidden);
  }
};

// One panel of transposed rows: for each k, tile and slot the `lanes` units of that tile.
// Row u of gate g is source + (g * units + u) * ld.
template <class T>
void pack_panel(const T* source, int64_t ld, int64_t depth, int64_t units, const int* gates,
                int count, int64_t first_tile, int tiles, T* panel) {
  constexpr int lanes = kLanes<T>;
  const int64_t width = static_cast<int64_t>(tiles) * count * lanes;
  for (int tile = 0; tile < tiles; ++tile) {
    const int64_t unit = (first_tile + tile) * lanes;
    const int valid = units - unit < lanes ? static_cast<int>(units - unit) : lanes;
    for (int slot = 0; slot < count; ++slot) {
      const T* rows = source + (gates[slot] * units + unit) * ld;
      T* to = panel + (tile * count + slot) * lanes;
      if (valid == lanes) {
        for (int64_t k = 0; k < depth; ++k)
          for (int lane = 0; lane < lanes; ++lane) to[k * width + lane] = rows[lane * ld + k];
      } else {
        for (int64_t k = 0; k < depth; ++k)
          for (int lane = 0; lane < lanes; ++lane)
            to[k * width + lane] = lane < valid ? rows[lane * ld + k] : T(0);
      }
    }
  }
}

// One panel of rows as they are: for each k, `vectors` vectors of columns from `column` on, zero
// beyond `columns`. Row k is source + k * ld.
template <class T>
void pack_columns(const T* source, int64_t ld, int64_t depth, int64_t columns, int64_t column,
                  int vectors, T* panel) {
  constexpr int lanes = kLanes<T>;
  for (int v = 0; v < vectors; ++v, column += lanes) {
    T* to = panel + v * lanes;
    const int64_t stride = static_cast<int64_t>(vectors) * lanes;
    if (column + lanes <= columns) {
      for (int64_t k = 0; k < depth; ++k) store(to + k * stride, load(source + k * ld + column));
    } else {
      const int rest = static_cast<int>(columns - column);
      for (int64_t k = 0; k < depth; ++k)
        store(to + k * stride, load_first(source + k * ld + column, rest));
    }
  }
}

template <class T>
T bias_of(const T* bias, int64_t index) {
  return bias != nullptr ? bias[index] : T(0);
}

// The biases of `tiles` tiles from `first` on, slot by slot; zero past the last unit.
template <class T>
void pack_bias(const Phase& phase, int64_t units, const Weights<T>& weights, int64_t first, int tiles,
               T* packed) {
  constexpr int lanes = kLanes<T>;
  for (int tile = 0; tile < tiles; ++tile)
    for (int slot = 0; slot < phase.slots; ++slot)
      for (int lane = 0; lane < lanes; ++lane) {
        const int64_t unit = (first + tile) * lanes + lane;
        T sum = 0;
        if (unit < units) {
          const int x = slot - phase.x_first, h = slot - phase.h_first;
          if (x >= 0 && x < phase.x_count)
            sum += bias_of(weights.b_ih, phase.x_gate[x] * units + unit);
          if (h >= 0 && h < phase.h_count)
            sum += bias_of(weights.b_hh, phase.h_gate[h] * units + unit);
        }
        packed[(tile * phase.slots + slot) * lanes + lane] = sum;
      }
}

template <class T>
void pack_phase(const Phase& phase, const PhasePlan<T>& plan, const Size& size,
                const Weights<T>& weights, bool projection, T* packed, int member, int members) {
  constexpr int lanes = kLanes<T>;
  const T* recurrent = projection ? weights.w_hr : weights.w_hh;
  for (int64_t panel = member; panel < plan.panels; panel += members) {
    const int64_t first = panel * phase.tiles;
    const int tiles =
        static_cast<int>(plan.tiles - first < phase.tiles ? plan.tiles - first : phase.tiles);
    if (phase.x_count > 0)
      pack_panel(weights.w_ih, size.inputs, plan.x_depth, plan.units, phase.x_gate, phase.x_count,
                 first, tiles, packed + plan.x + first * phase.x_count * lanes * plan.x_depth);
    pack_panel(recurrent, plan.h_depth, plan.h_depth, plan.units, phase.h_gate, phase.h_count, first,
               tiles, packed + plan.h + first * phase.h_count * lanes * plan.h_depth);
    pack_bias(phase, plan.units, projection ? Weights<T>{} : weights, first, tiles,
              packed + plan.bias + first * phase.slots * lanes);
  }
}

// Vectors of weights that act unit by unit, those of one vector of units side by side.
template <class T>
void pack_peepholes(const T* source, int64_t units, int count, T* packed) {
  constexpr int lanes = kLanes<T>;
  for (int64_t unit = 0; unit < padded<T>(units); ++unit)
    for (int k = 0; k < count; ++k)
      packed[(unit / lanes * count + k) * lanes + unit % lanes] =
          unit < units ? source[k * units + unit] : T(0);
}

template <class T, class C>
void pack(const Size& size, const Weights<T>& weights, T* packed, int member, int members) {
  const Plan<T, C> plan(size);
  for (int p = 0; p < C::phases; ++p)
    pack_phase(C::phase[p], plan.phase[p], size, weights, C::projected && p == 1, packed, member,
               members);
  if (C::peepholes > 0 && weights.peepholes != nullptr && member == 0)
    pack_peepholes(weights.peepholes, size.hidden, C::peepholes, packed + plan.peepholes);
}

}  // namespace UNROLLED_ISA_NS
