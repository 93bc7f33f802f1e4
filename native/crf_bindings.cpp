// Conditional random fields over numpy arrays; sizes are checked here.
#include "bindings.h"
#include "crf.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>

namespace unrolled {
namespace {

template <class T, int D>
using In = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T, int D>
using Out = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;

template <class T>
Chain<T> chain_of(const In<T, 3>& emissions, const In<T, 2>& transitions, const In<T, 1>& start,
                  const In<T, 1>& end, const In<int64_t, 1>& lengths) {
  const Chain<T> chain{static_cast<int64_t>(emissions.shape(0)),
                       static_cast<int64_t>(emissions.shape(1)),
                       static_cast<int64_t>(emissions.shape(2)),
                       emissions.data(),
                       transitions.data(),
                       start.data(),
                       end.data(),
                       lengths.data()};
  check(chain.steps > 0 && chain.tags > 0, "emissions must be [N, T, K] with T, K > 0");
  expect("transitions", transitions, {chain.tags, chain.tags});
  expect("start", start, {chain.tags});
  expect("end", end, {chain.tags});
  expect("lengths", lengths, {chain.rows});
  for (int64_t n = 0; n < chain.rows; ++n)
    check(chain.lengths[n] >= 1 && chain.lengths[n] <= chain.steps,
          "row " + std::to_string(n) + ": length " + std::to_string(chain.lengths[n]) +
              " is outside 1.." + std::to_string(chain.steps));
  return chain;
}

template <class T>
void log_partition(const In<T, 3>& emissions, const In<T, 2>& transitions, const In<T, 1>& start,
                   const In<T, 1>& end, const In<int64_t, 1>& lengths, const Out<double, 1>& log_z,
                   const std::optional<Out<double, 3>>& alphas) {
  const Chain<T> chain = chain_of<T>(emissions, transitions, start, end, lengths);
  expect("log_z", log_z, {chain.rows});
  if (alphas) expect("alphas", *alphas, {chain.rows, chain.steps, chain.tags});
  const nb::gil_scoped_release release;
  crf_log_partition(chain, log_z.data(), alphas ? alphas->data() : nullptr);
}

template <class T>
void gradient(const In<T, 3>& emissions, const In<T, 2>& transitions, const In<T, 1>& start,
              const In<T, 1>& end, const In<int64_t, 1>& lengths, const In<double, 1>& log_z,
              const In<double, 3>& alphas, const In<double, 1>& weights,
              const Out<T, 3>& d_emissions, const Out<T, 2>& d_transitions, const Out<T, 1>& d_start,
              const Out<T, 1>& d_end) {
  const Chain<T> chain = chain_of<T>(emissions, transitions, start, end, lengths);
  expect("log_z", log_z, {chain.rows});
  expect("alphas", alphas, {chain.rows, chain.steps, chain.tags});
  expect("weights", weights, {chain.rows});
  expect("d_emissions", d_emissions, {chain.rows, chain.steps, chain.tags});
  expect("d_transitions", d_transitions, {chain.tags, chain.tags});
  expect("d_start", d_start, {chain.tags});
  expect("d_end", d_end, {chain.tags});
  const nb::gil_scoped_release release;
  crf_gradient(chain, log_z.data(), alphas.data(), weights.data(), d_emissions.data(),
               d_transitions.data(), d_start.data(), d_end.data());
}

template <class T>
void viterbi(const In<T, 3>& emissions, const In<T, 2>& transitions, const In<T, 1>& start,
             const In<T, 1>& end, const In<int64_t, 1>& lengths, const Out<int64_t, 3>& paths,
             const Out<double, 2>& scores) {
  const Chain<T> chain = chain_of<T>(emissions, transitions, start, end, lengths);
  const int64_t best = static_cast<int64_t>(paths.shape(1));
  check(best >= 1, "paths must be [N, best, T] with best > 0");
  expect("paths", paths, {chain.rows, best, chain.steps});
  expect("scores", scores, {chain.rows, best});
  checked_product(checked_product(chain.steps, chain.tags), best, 64);
  const nb::gil_scoped_release release;
  crf_viterbi(chain, best, paths.data(), scores.data());
}

template <class T>
void bind(nb::module_& m) {
  m.def("crf_log_partition", &log_partition<T>, nb::arg("emissions").noconvert(),
        nb::arg("transitions").noconvert(), nb::arg("start").noconvert(),
        nb::arg("end").noconvert(), nb::arg("lengths").noconvert(), nb::arg("log_z").noconvert(),
        nb::arg("alphas").noconvert().none());
  m.def("crf_gradient", &gradient<T>, nb::arg("emissions").noconvert(),
        nb::arg("transitions").noconvert(), nb::arg("start").noconvert(),
        nb::arg("end").noconvert(), nb::arg("lengths").noconvert(), nb::arg("log_z").noconvert(),
        nb::arg("alphas").noconvert(), nb::arg("weights").noconvert(),
        nb::arg("d_emissions").noconvert(), nb::arg("d_transitions").noconvert(),
        nb::arg("d_start").noconvert(), nb::arg("d_end").noconvert());
  m.def("crf_viterbi", &viterbi<T>, nb::arg("emissions").noconvert(),
        nb::arg("transitions").noconvert(), nb::arg("start").noconvert(),
        nb::arg("end").noconvert(), nb::arg("lengths").noconvert(), nb::arg("paths").noconvert(),
        nb::arg("scores").noconvert());
}

}  // namespace

void bind_crf(nb::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace unrolled
