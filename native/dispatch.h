// Which instruction set runs: the best that this CPU has, or the one forced by name.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace unrolled {

struct Isa {
  const char* name;
  bool (*supported)();
  const Kernels<float>* f32;
  const Kernels<double>* f64;
  // Inference on float32 activations with weights of fewer bits.
  const Kernels<float>* bf16;
  const Kernels<float>* int8;
};

// Names of the sets that were compiled in and that this CPU runs, best first.
std::vector<std::string> available_isas();

// The kernels of the set in use for weights held as "float32", "bf16" or "int8"; int8 is with
// AVX512-VNNI where set and CPU have it, and "int8-without-vnni" is always without.
// Throws std::invalid_argument for another name.
const Kernels<float>& kernels_of(const std::string& precision);

// What multiplies 8-bit integers in the set in use: "avx512-vnni", "pairs" (of 16 bits) or "plain".
const char* int8_instructions();

// The set in use. At first use it is the one that UNROLLED_ISA names, else the best available.
// Throws std::invalid_argument where the name is unknown or this CPU lacks the set.
const Isa& current_isa();

// Force a set by name; an empty name goes back to the environment's choice, else the best.
void set_isa(const std::string& name);

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return *current_isa().f32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return *current_isa().f64;
}

}  // namespace unrolled
