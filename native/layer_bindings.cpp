// Layers with packed weights, for inference on numpy arrays.
#include "bindings.h"

namespace unrolled {
void bind_layers(nb::module_&) {}
}  // namespace unrolled
