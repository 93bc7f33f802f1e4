// Layers with packed weights, for inference on numpy arrays. A layer is immutable once made, so that
// several Python threads may run it at once.
#include "bindings.h"
#include "dispatch.h"
#include "engine.h"
#include "options.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace unrolled {
namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using State = nb::ndarray<const T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T>
using Output = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T>
using Input = nb::ndarray<const T, nb::ndim<3>, nb::device::cpu>;
// weight_ih [G*H, I], weight_hh [G*H, P], bias_ih and bias_hh [G*H], weight_hr [P, H]
template <class T>
using Parameters = std::tuple<Matrix<T>, Matrix<T>, std::optional<Vector<T>>,
                              std::optional<Vector<T>>, std::optional<Matrix<T>>>;
// Of each direction its f, g and h.
using Activations = std::optional<std::vector<std::vector<NamedActivation>>>;
// Of each direction [3, H] in the order i f o.
template <class T>
using Peepholes = std::optional<std::vector<Matrix<T>>>;
using Lengths = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <class T>
std::unique_ptr<T, Free> aligned(int64_t count) {
  const int64_t bytes = (checked_product(count, sizeof(T)) + 63) / 64 * 64;
  T* block = static_cast<T*>(std::aligned_alloc(64, static_cast<size_t>(bytes > 0 ? bytes : 64)));
  if (block == nullptr) throw std::bad_alloc();
  return std::unique_ptr<T, Free>(block);
}

template <class T>
class PackedLayer {
 public:
  PackedLayer(const std::string& cell, const std::vector<Parameters<T>>& directions,
              const Activations& activations, std::optional<double> clip, bool input_forget,
              const Peepholes<T>& peepholes, const std::string& precision)
      : table_(table_of(precision)), directions_(static_cast<int>(directions.size())) {
    check(directions_ == 1 || directions_ == 2, "a layer has one or two directions");
    const auto& [ih, hh, b_ih, b_hh, hr] = directions[0];
    const int64_t P = static_cast<int64_t>(hh.shape(1));
    const int64_t H = hr ? static_cast<int64_t>(hr->shape(1)) : P;
    size_ = {cell_by_name(cell, hr.has_value()), static_cast<int64_t>(ih.shape(1)), H, P};
    check_sizes(size_, 0, 0, directions_);
    const bool low = sizeof(T) == sizeof(float) && precision != "float32";
    const bool general = activations || clip || input_forget || peepholes;
    check(!low || !hr, "a layer with a projection has no low precision; expected float32");
    check(!low || !general,
          "a cell with options or peepholes has no low precision; expected float32");
    check(precision.rfind("int8", 0) != 0 || (size_.inputs <= kMaxSummed && H <= kMaxSummed),
          "int8 sums at most " + std::to_string(kMaxSummed) + " products");
    const size_t D = directions.size();
    check(!activations || activations->size() == D, "activations must be a list for each direction");
    check(!peepholes || peepholes->size() == D, "peepholes must be an array for each direction");
    if (general) {
      for (size_t d = 0; d < D; ++d)
        options_[d] = cell_options(size_.cell, activations ? &(*activations)[d] : nullptr, clip,
                                   input_forget, peepholes.has_value());
      size_.cell = general_cell(size_.cell);
    }
    for (size_t d = 0; d < D; ++d) pack(directions[d], peepholes ? &(*peepholes)[d] : nullptr);
  }
  PackedLayer(const PackedLayer&) = delete;

  // x [N, T, I] with any strides of N and T; h [D, N, P], c [D, N, H]; y [N, T, D*P], h_n and c_n
  // are written. A row of length 0 keeps its state.
  void run(const Input<T>& x, const State<T>& h, const std::optional<State<T>>& c,
           const std::optional<Lengths>& lengths, const Output<T>& y, const Output<T>& h_n,
           const std::optional<Output<T>>& c_n) const {
    const int64_t N = static_cast<int64_t>(x.shape(0)), steps = static_cast<int64_t>(x.shape(1));
    const int64_t P = size_.outputs, H = size_.hidden, D = directions_;
    const bool lstm = gates_of(size_.cell) == 4;
    expect("x", x, {N, steps, size_.inputs});
    check(x.stride(2) == 1 || size_.inputs == 1, "x must be contiguous in its last dimension");
    expect("y", y, {N, steps, D * P});
    expect("h", h, {D, N, P});
    expect("h_n", h_n, {D, N, P});
    check(lstm == c.has_value() && lstm == c_n.has_value(), "c and c_n go with an LSTM");
    if (lstm) {
      expect("c", *c, {D, N, H});
      expect("c_n", *c_n, {D, N, H});
    }
    if (lengths) expect("lengths", *lengths, {N});
    check_sizes(size_, steps, N, D);
    const WithoutGil release;
    const OwnedSchedule schedule(lengths ? lengths->data() : nullptr, N, steps);
    Arena& arena = Arena::of_this_thread();
    arena.begin();
    Forward<T> calls[2] = {};
    for (int64_t d = 0; d < D; ++d) {
      Forward<T>& call = calls[d];
      call.size = size_;
      call.schedule = schedule.get();
      call.reverse = d == 1;
      call.options = &options_[d];
      call.packed = packed_[static_cast<size_t>(d)].get();
      call.x = {x.data(), x.stride(1), x.stride(0)};
      call.y = {y.data() + d * P, D * P, steps * D * P};
      call.h0 = {h.data() + d * N * P, P};
      call.h_n = {h_n.data() + d * N * P, P};
      if (!lstm) continue;
      call.c0 = {c->data() + d * N * H, H};
      call.c_n = {c_n->data() + d * N * H, H};
    }
    run_forward<T>(*table_, calls, nullptr, directions_, arena);
  }

  PackedView<T> view() const { return {table_, size_, packed_[0].get(), directions_, &options_[0]}; }

 private:
  // Of two numbers of at most 127 each, so that a sum is below 2^31.
  static constexpr int64_t kMaxSummed = 130000;

  static const Kernels<T>* table_of(const std::string& precision) {
    if constexpr (sizeof(T) == sizeof(float)) {
      return &kernels_of(precision);
    } else {
      check(precision == "float64", "a float64 layer has no precision '" + precision + "'");
      return &kernels<T>();
    }
  }

  void pack(const Parameters<T>& direction, const Matrix<T>* peepholes) {
    const auto& [ih, hh, b_ih, b_hh, hr] = direction;
    const int64_t rows = gates_of(size_.cell) * size_.hidden;
    expect("weight_ih", ih, {rows, size_.inputs});
    expect("weight_hh", hh, {rows, size_.outputs});
    if (b_ih) expect("bias_ih", *b_ih, {rows});
    if (b_hh) expect("bias_hh", *b_hh, {rows});
    check(hr.has_value() == (size_.cell == Cell::lstm_projected),
          "weight_hr goes with every direction or with none");
    if (hr) expect("weight_hr", *hr, {size_.outputs, size_.hidden});
    if (peepholes != nullptr) expect("peepholes", *peepholes, {3, size_.hidden});
    const Weights<T> weights{ih.data(), hh.data(), b_ih ? b_ih->data() : nullptr,
                             b_hh ? b_hh->data() : nullptr, hr ? hr->data() : nullptr,
                             peepholes != nullptr ? peepholes->data() : nullptr};
    packed_.push_back(aligned<T>(table_->packed_size(size_)));
    table_->pack(size_, weights, packed_.back().get(), 0, 1);
  }

  // The packing is that of one instruction set, which therefore also runs it.
  const Kernels<T>* table_;
  int directions_;
  Size size_;
  CellOptions options_[2];  // read by general cells only
  std::vector<std::unique_ptr<T, Free>> packed_;
};

template <class T>
void bind_layer(nb::module_& m, const char* name) {
  nb::class_<PackedLayer<T>>(m, name)
      .def(nb::init<const std::string&, const std::vector<Parameters<T>>&, const Activations&,
                    std::optional<double>, bool, const Peepholes<T>&, const std::string&>(),
           nb::arg("cell"), nb::arg("directions").noconvert(),
           nb::arg("activations") = nb::none(), nb::arg("clip") = nb::none(),
           nb::arg("input_forget") = false, nb::arg("peepholes").noconvert() = nb::none(),
           nb::arg("precision") = sizeof(T) == sizeof(float) ? "float32" : "float64")
      .def("run", &PackedLayer<T>::run, nb::arg("x").noconvert(), nb::arg("h").noconvert(),
           nb::arg("c").noconvert().none(), nb::arg("lengths").noconvert().none(),
           nb::arg("y").noconvert(), nb::arg("h_n").noconvert(), nb::arg("c_n").noconvert().none());
}

}  // namespace

template <class T>
PackedView<T> packed_view(nb::handle layer) {
  return nb::cast<const PackedLayer<T>&>(layer).view();
}
template PackedView<float> packed_view<float>(nb::handle);
template PackedView<double> packed_view<double>(nb::handle);

void bind_layers(nb::module_& m) {
  bind_layer<float>(m, "LayerF32");
  bind_layer<double>(m, "LayerF64");
}

}  // namespace unrolled
