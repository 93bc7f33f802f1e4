#include "low/int8.h"
#include "low/table.h"

namespace UNROLLED_ISA_NS {
extern const unrolled::Kernels<float> table_int8;
constinit const unrolled::Kernels<float> table_int8 = make_low_table<Int8>();
}  // namespace UNROLLED_ISA_NS
