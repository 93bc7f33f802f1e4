#include "low/bf16.h"
#include "low/table.h"

namespace UNROLLED_ISA_NS {
extern const unrolled::Kernels<float> table_bf16;
constinit const unrolled::Kernels<float> table_bf16 = make_low_table<Bf16>();
}  // namespace UNROLLED_ISA_NS
