// Steps of a stack on numpy arrays, at the cost of one call. numpy's own C interface is used here,
// and only here: an array through nanobind takes as long as the step of a small layer.
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION
#include <numpy/arrayobject.h>

#include "bindings.h"
#include "stack.h"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

namespace unrolled {
namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
constexpr int kTypeNumber = sizeof(T) == sizeof(float) ? NPY_FLOAT : NPY_DOUBLE;

// Below this many multiply-adds a step is over before another Python thread would have run.
constexpr double kWorthReleasing = 1e6;

void import_numpy() {
  if (PyArray_ImportNumPyAPI() < 0) throw nb::python_error();
}

// The array behind `object` where it is plain: of this type, aligned, its values side by side.
PyArrayObject* plain(PyObject* object, int type) {
  if (!PyArray_CheckExact(object)) return nullptr;
  auto* array = reinterpret_cast<PyArrayObject*>(object);
  return PyArray_TYPE(array) == type && PyArray_ISCARRAY_RO(array) ? array : nullptr;
}

template <class T>
T* data_of(PyArrayObject* array) {
  return static_cast<T*>(PyArray_DATA(array));
}

bool has_shape(PyArrayObject* array, int ndim, const npy_intp* shape) {
  return PyArray_NDIM(array) == ndim && std::equal(shape, shape + ndim, PyArray_DIMS(array));
}

template <class T>
nb::object new_array(int ndim, npy_intp* shape) {
  PyObject* array = PyArray_SimpleNew(ndim, shape, kTypeNumber<T>);
  if (array == nullptr) throw nb::python_error();
  return nb::steal(array);
}

bool overlap(PyArrayObject* a, PyArrayObject* b) {
  const char *p = PyArray_BYTES(a), *q = PyArray_BYTES(b);
  return p < q + PyArray_NBYTES(b) && q < p + PyArray_NBYTES(a);
}

// The widths of one part of the state, h or c, and where each layer's stands in a Python state.
struct Part {
  std::vector<int64_t> widths;
  bool joined;  // one array [L, N, width], else a tuple of [1, N, width_l]
};

template <class T>
class Stepper {
 public:
  // `first_h` and `first_c` hold what each layer starts from where no state is given; c is empty
  // but for LSTM.
  Stepper(const std::vector<nb::object>& layers, bool residual,
          const std::vector<Vector<T>>& first_h, const std::vector<Vector<T>>& first_c)
      : kept_(layers) {
    import_numpy();
    check(!layers.empty(), "a stack has at least one layer");
    for (const nb::object& layer : layers) {
      const PackedView<T> view = packed_view<T>(layer);
      check(view.directions == 1, "a bidirectional layer has no single step");
      check(layers_.empty() || (view.size.inputs == layers_.back().size.outputs &&
                                view.table == table_),
            "the layers of a stack must follow each other");
      const bool adds = residual && !layers_.empty();
      check(!adds || view.size.inputs == view.size.outputs, "residual layers keep the width");
      table_ = view.table;
      layers_.push_back({view.size, view.packed, adds, view.options});
      h_.widths.push_back(view.size.outputs);
      c_.widths.push_back(view.size.hidden);
      row_ += view.size.outputs;
    }
    const Cell cell = layers_[0].size.cell;
    lstm_ = gates_of(cell) == 4;
    if (!lstm_) c_.widths.clear();
    for (const int64_t width : c_.widths) row_ += width;
    first_h_ = copy(first_h, h_);
    first_c_ = copy(first_c, c_);
    work_ = step_work(layers_);
  }
  Stepper(const Stepper&) = delete;

  // x [N, I] or [I], the state as Recurrent returns it or None: (y, state). None where an argument
  // is not a plain array of the right shape, for Python to convert or to refuse.
  nb::object step(nb::handle x, nb::handle state, nb::handle out) const {
    PyArrayObject* values = plain(x.ptr(), kTypeNumber<T>);
    if (values == nullptr) return nb::none();
    bool single = false;
    int64_t rows = 0;
    if (!count_rows(values, &rows, &single)) return nb::none();
    States states(layers_.size());
    nb::handle h = state, c;
    if (lstm_ && !state.is_none()) {
      if (!PyTuple_CheckExact(state.ptr()) || PyTuple_GET_SIZE(state.ptr()) != 2) return nb::none();
      h = PyTuple_GET_ITEM(state.ptr(), 0);
      c = PyTuple_GET_ITEM(state.ptr(), 1);
    }
    Call call{rows, single, states, out.is_none() ? nullptr : writable(out, rows, single)};
    if (call.out == nullptr && !out.is_none()) return nb::none();
    if (call.out != nullptr && overlap(call.out, values)) return nb::none();
    if (state.is_none()) {
      start(call);
    } else if (!read(h_, h, call, &StackState<T>::h) ||
               (lstm_ && !read(c_, c, call, &StackState<T>::c))) {
      return nb::none();
    }
    nb::object next = write(h_, call, &StackState<T>::h_n);
    if (lstm_) next = nb::make_tuple(next, write(c_, call, &StackState<T>::c_n));
    nb::object y = call.out != nullptr ? nb::borrow(out) : new_output(rows, single);
    run(rows, nullptr, values, y, states);
    return nb::make_tuple(y, next);
  }

  // Advances rows of `block` [K, S] in place: row i of x [n, I] goes with row index[i], or row i
  // where index is None; x [I] is one row. Returns y, or None as above. A row of the block holds,
  // layer after layer, h and then c.
  nb::object advance(nb::handle x, nb::handle block, nb::handle index, nb::handle out) const {
    PyArrayObject* values = plain(x.ptr(), kTypeNumber<T>);
    PyArrayObject* held = plain(block.ptr(), kTypeNumber<T>);
    check(held != nullptr && PyArray_NDIM(held) == 2 && PyArray_DIM(held, 1) == row_ &&
              PyArray_ISWRITEABLE(held),
          "the states must be a plain array [K, " + std::to_string(row_) + "]");
    bool single = false;
    int64_t rows = 0;
    if (values == nullptr || !count_rows(values, &rows, &single)) return nb::none();
    const int64_t* chosen = check_index(index, rows, PyArray_DIM(held, 0));
    PyArrayObject* given = out.is_none() ? nullptr : writable(out, rows, single);
    if (given == nullptr && !out.is_none()) return nb::none();
    if (overlap(held, values)) return nb::none();
    if (given != nullptr && (overlap(given, values) || overlap(given, held))) return nb::none();
    States states(layers_.size());
    T* at = data_of<T>(held);
    for (size_t k = 0; k < layers_.size(); ++k) {
      states[k].h = {at, row_};
      states[k].h_n = {at, row_};
      at += h_.widths[k];
      if (!lstm_) continue;
      states[k].c = {at, row_};
      states[k].c_n = {at, row_};
      at += c_.widths[k];
    }
    nb::object y = given != nullptr ? nb::borrow(out) : new_output(rows, single);
    run(rows, chosen, values, y, states);
    return y;
  }

  int64_t state_width() const { return row_; }

 private:
  // One a layer; no memory is asked for where the stack is as low as most are.
  class States {
   public:
    explicit States(size_t count) : many_(count > kFew ? count : 0) {}
    StackState<T>& operator[](size_t k) { return many_.empty() ? few_[k] : many_[k]; }

   private:
    static constexpr size_t kFew = 4;
    StackState<T> few_[kFew] = {};
    std::vector<StackState<T>> many_;
  };

  struct Call {
    int64_t rows;
    bool single;
    States& states;
    PyArrayObject* out;
  };

  int64_t output_width() const { return layers_.back().size.outputs; }

  static std::vector<std::vector<T>> copy(const std::vector<Vector<T>>& first, Part& part) {
    check(first.size() == part.widths.size(), "one initial state a layer");
    std::vector<std::vector<T>> copies;
    for (size_t k = 0; k < first.size(); ++k) {
      check(static_cast<int64_t>(first[k].shape(0)) == part.widths[k],
            "an initial state has the width of its layer");
      copies.emplace_back(first[k].data(), first[k].data() + first[k].shape(0));
    }
    part.joined = std::all_of(part.widths.begin(), part.widths.end(),
                              [&](int64_t width) { return width == part.widths[0]; });
    return copies;
  }

  // Whether x is [N, I] or [I].
  bool count_rows(PyArrayObject* x, int64_t* rows, bool* single) const {
    const int ndim = PyArray_NDIM(x);
    if (ndim < 1 || ndim > 2 || PyArray_DIM(x, ndim - 1) != layers_[0].size.inputs) return false;
    *single = ndim == 1;
    *rows = *single ? 1 : PyArray_DIM(x, 0);
    return true;
  }

  PyArrayObject* writable(nb::handle out, int64_t rows, bool single) const {
    PyArrayObject* array = plain(out.ptr(), kTypeNumber<T>);
    const npy_intp shape[2] = {rows, output_width()};
    const bool fits = array != nullptr && PyArray_ISWRITEABLE(array) &&
                      (single ? has_shape(array, 1, shape + 1) : has_shape(array, 2, shape));
    return fits ? array : nullptr;
  }

  nb::object new_output(int64_t rows, bool single) const {
    npy_intp shape[2] = {rows, output_width()};
    return single ? new_array<T>(1, shape + 1) : new_array<T>(2, shape);
  }

  static int shape_of(const Call& call, int64_t first, int64_t width, npy_intp* shape) {
    shape[0] = first;
    shape[1] = call.single ? width : call.rows;
    shape[2] = width;
    return call.single ? 2 : 3;
  }

  void start(Call& call) const {
    for (size_t k = 0; k < layers_.size(); ++k) {
      call.states[k].h = {first_h_[k].data(), 0};
      if (lstm_) call.states[k].c = {first_c_[k].data(), 0};
    }
  }

  bool read(const Part& part, nb::handle given, Call& call,
            Rows<const T> StackState<T>::*member) const {
    const size_t count = layers_.size();
    npy_intp shape[3];
    if (!part.joined &&
        (!PyTuple_CheckExact(given.ptr()) ||
         PyTuple_GET_SIZE(given.ptr()) != static_cast<Py_ssize_t>(count)))
      return false;
    for (size_t k = 0; k < count; ++k) {
      if (k > 0 && part.joined) {
        const Rows<const T>& below = call.states[k - 1].*member;
        call.states[k].*member = {below.data + call.rows * part.widths[0], below.batch};
        continue;
      }
      PyObject* object =
          part.joined ? given.ptr() : PyTuple_GET_ITEM(given.ptr(), static_cast<Py_ssize_t>(k));
      PyArrayObject* array = plain(object, kTypeNumber<T>);
      const int ndim = shape_of(call, part.joined ? static_cast<int64_t>(count) : 1,
                                part.widths[k], shape);
      if (array == nullptr || !has_shape(array, ndim, shape)) return false;
      if (call.out != nullptr && overlap(call.out, array)) return false;
      call.states[k].*member = {data_of<T>(array), part.widths[k]};
    }
    return true;
  }

  nb::object write(const Part& part, Call& call, Rows<T> StackState<T>::*member) const {
    const size_t count = layers_.size();
    npy_intp shape[3];
    if (part.joined) {
      const int ndim = shape_of(call, static_cast<int64_t>(count), part.widths[0], shape);
      nb::object array = new_array<T>(ndim, shape);
      T* data = data_of<T>(reinterpret_cast<PyArrayObject*>(array.ptr()));
      for (size_t k = 0; k < count; ++k, data += call.rows * part.widths[0])
        call.states[k].*member = {data, part.widths[0]};
      return array;
    }
    nb::object parts = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
    if (!parts.is_valid()) throw nb::python_error();
    for (size_t k = 0; k < count; ++k) {
      const int ndim = shape_of(call, 1, part.widths[k], shape);
      nb::object array = new_array<T>(ndim, shape);
      call.states[k].*member = {data_of<T>(reinterpret_cast<PyArrayObject*>(array.ptr())),
                                part.widths[k]};
      PyTuple_SET_ITEM(parts.ptr(), static_cast<Py_ssize_t>(k), array.release().ptr());
    }
    return parts;
  }

  // The rows that an index names, each in [0, count) and none twice.
  static const int64_t* check_index(nb::handle index, int64_t rows, int64_t count) {
    if (index.is_none()) {
      check(rows == count, "the frame has " + std::to_string(rows) + " rows for " +
                               std::to_string(count) + " states");
      return nullptr;
    }
    PyArrayObject* array = plain(index.ptr(), NPY_INT64);
    check(array != nullptr && PyArray_NDIM(array) == 1 && PyArray_DIM(array, 0) == rows,
          "the index must be " + std::to_string(rows) + " int64 values, one per row of x");
    const int64_t* chosen = data_of<const int64_t>(array);
    std::vector<bool> seen(static_cast<size_t>(count));
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = chosen[i];
      if (row < 0 || row >= count || seen[static_cast<size_t>(row)]) refuse_index(i, row, count);
      seen[static_cast<size_t>(row)] = true;
    }
    return chosen;
  }

  [[noreturn]] static void refuse_index(int64_t i, int64_t row, int64_t count) {
    const std::string place = "index[" + std::to_string(i) + "] ";
    if (row >= 0 && row < count)
      throw std::invalid_argument(place + "names row " + std::to_string(row) + " again");
    throw std::invalid_argument(place + "is " + std::to_string(row) + ", expected 0 to " +
                                std::to_string(count - 1));
  }

  void run(int64_t rows, const int64_t* index, PyArrayObject* x, nb::handle y,
           States& states) const {
    T* to = data_of<T>(reinterpret_cast<PyArrayObject*>(y.ptr()));
    const bool backward = turn_.load(std::memory_order_relaxed);
    turn_.store(!backward, std::memory_order_relaxed);
    const StackStep<T> call{rows,
                            index,
                            {data_of<const T>(x), layers_[0].size.inputs},
                            {to, output_width()},
                            &states[0],
                            backward};
    const double work = static_cast<double>(work_) * static_cast<double>(rows);
    std::optional<WithoutGil> release;
    if (work >= kWorthReleasing) release.emplace();
    run_step<T>(*table_, layers_, call, Arena::of_this_thread());
  }

  std::vector<nb::object> kept_;  // the layers, whose weights are read
  const Kernels<T>* table_ = nullptr;
  std::vector<StackLayer<T>> layers_;
  bool lstm_ = false;
  Part h_, c_;
  std::vector<std::vector<T>> first_h_, first_c_;
  int64_t row_ = 0;  // S, the values of one row's state
  int64_t work_ = 0;
  // Steps read the weights from either end in turn: what the last step left in the cache is read
  // before it is pushed out. No result depends on it.
  mutable std::atomic<bool> turn_{false};
};

template <class T>
void bind(nb::module_& m, const char* name) {
  nb::class_<Stepper<T>>(m, name)
      .def(nb::init<const std::vector<nb::object>&, bool, const std::vector<Vector<T>>&,
                    const std::vector<Vector<T>>&>(),
           nb::arg("layers"), nb::arg("residual"), nb::arg("first_h").noconvert(),
           nb::arg("first_c").noconvert())
      .def("step", &Stepper<T>::step, nb::arg("x"), nb::arg("state").none(), nb::arg("out").none())
      .def("advance", &Stepper<T>::advance, nb::arg("x"), nb::arg("block"), nb::arg("index").none(),
           nb::arg("out").none())
      .def_prop_ro("state_width", &Stepper<T>::state_width);
}

}  // namespace

void bind_stepper(nb::module_& m) {
  bind<float>(m, "StepperF32");
  bind<double>(m, "StepperF64");
}

}  // namespace unrolled
