#include "isa/table.h"

namespace UNROLLED_ISA_NS {
extern const unrolled::Kernels<float> table_f32;
constinit const unrolled::Kernels<float> table_f32 = make_table<float>();
}  // namespace UNROLLED_ISA_NS
