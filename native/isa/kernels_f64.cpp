#include "isa/table.h"

namespace UNROLLED_ISA_NS {
extern const unrolled::Kernels<double> table_f64;
constinit const unrolled::Kernels<double> table_f64 = make_table<double>();
}  // namespace UNROLLED_ISA_NS
