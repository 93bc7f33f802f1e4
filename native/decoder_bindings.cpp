// Decoders over numpy arrays; sizes, lengths and tokens are checked here.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "bindings.h"
#include "decoder/blocks.h"
#include "decoder/search.h"
#include "dispatch.h"

namespace unrolled {
namespace {

template <class T>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::c_contig, nb::device::cpu>;

// Steps of a memory that one thread projects at once: the matrix is read once for all of them.
constexpr int64_t kProjected = 128;

Scorer scorer_by_name(const std::string& name) {
  if (name == "none") return Scorer::none;
  if (name == "additive") return Scorer::additive;
  if (name == "dot") return Scorer::dot;
  if (name == "concat") return Scorer::concat;
  throw std::invalid_argument("scorer '" + name + "': expected none, additive, dot or concat");
}

// Takes the arrays of a decoder by name; what is not there, where it may be absent, is null.
template <class T>
class Named {
 public:
  explicit Named(const nb::dict& arrays) : arrays_(arrays) {}
  bool has(const std::string& name) const { return arrays_.contains(name.c_str()); }
  Array<T> get(const std::string& name) const {
    check(has(name), "a decoder of these sizes needs '" + name + "'");
    return nb::cast<Array<T>>(arrays_[name.c_str()]);
  }
  Array<T> get(const std::string& name, std::initializer_list<int64_t> shape) const {
    Array<T> array = get(name);
    expect(name, array, shape);
    return array;
  }
  Matrix<T> matrix(const Decoder<T>& decoder, const std::string& name, int64_t depth, int64_t columns,
                   bool biased) const {
    const Array<T> data = get(name, {depth, columns});
    if (!biased) return decoder.pack(data.data(), depth, columns, nullptr);
    const Array<T> bias = get(name + "_bias", {columns});
    return decoder.pack(data.data(), depth, columns, bias.data());
  }

 private:
  nb::dict arrays_;
};

template <class T>
class BoundDecoder {
 public:
  BoundDecoder(const std::string& cell, const std::string& scorer, const std::vector<int64_t>& hidden,
               bool feeding, const nb::dict& arrays) {
    const Named<T> named(arrays);
    DecoderSizes& sizes = decoder_.sizes;
    decoder_.table = &kernels<T>();
    sizes.cell = cell_by_name(cell, false);
    check(sizes.cell != Cell::gru_before, "a decoder's GRU has its reset after the product");
    sizes.scorer = scorer_by_name(scorer);
    check(!hidden.empty() && *std::min_element(hidden.begin(), hidden.end()) > 0,
          "a decoder needs layers of H > 0");
    sizes.hidden = hidden;
    sizes.feeding = feeding;
    const Array<T> output = named.get("output");
    check(output.ndim() == 2, "output must be [R, V]");
    sizes.readout = static_cast<int64_t>(output.shape(0));
    sizes.vocabulary = static_cast<int64_t>(output.shape(1));
    sizes.keys = sizes.memory = 0;
    read_source(named);
    check(sizes.readout > 0 && sizes.vocabulary > 0, "output must be [R, V] with R, V > 0");
    for (int64_t l = 0; l < sizes.layers(); ++l) read_layer(named, l);
    embedding_ = named.get("embedding");
    check(embedding_.ndim() == 2, "embedding must be [V, E]");
    const int64_t width = static_cast<int64_t>(embedding_.shape(1));
    expect("embedding", embedding_, {sizes.vocabulary, width});
    decoder_.given = embedding_.data();
    if (named.has("embedded")) {
      decoder_.embedded = named.matrix(decoder_, "embedded", width, sizes.given(), true);
    } else {
      expect("embedding", embedding_, {sizes.vocabulary, sizes.given()});
    }
    if (feeding) decoder_.feed = named.matrix(decoder_, "feed", sizes.readout, sizes.gates(0), false);
    decoder_.read = named.matrix(decoder_, "read", hidden.back(), sizes.readout, false);
    decoder_.output = named.matrix(decoder_, "output", sizes.readout, sizes.vocabulary, true);
  }

  int64_t source_width() const { return decoder_.sizes.source_width(); }

  void project(const Array<T>& memory, const Numbers& lengths, const Out<T>& out) const {
    const DecoderSizes& sizes = decoder_.sizes;
    check(sizes.scorer != Scorer::none && memory.ndim() == 3, "memory must be [N, S, M]");
    const auto rows = static_cast<int64_t>(memory.shape(0)), steps = static_cast<int64_t>(memory.shape(1));
    expect("memory", memory, {rows, steps, sizes.memory});
    expect("out", out, {rows, steps, sizes.source_width()});
    check_lengths(lengths, rows, steps, 0);
    const WithoutGil release;
    std::vector<const T*> from;
    std::vector<T*> to;
    for (int64_t at = 0; at < rows * steps; ++at) {
      T* const row = out.data() + at * sizes.source_width();
      if (at % steps < lengths.data()[at / steps]) {
        from.push_back(memory.data() + at * sizes.memory);
        to.push_back(row);
      } else {
        decoder_.project_nothing(row);
      }
    }
    over_blocks(static_cast<int64_t>(from.size()), kProjected, [&](int64_t first, int64_t count) {
      decoder_.project(from.data() + first, count, to.data() + first);
    });
  }

  void step(const Numbers& tokens, const std::vector<Out<T>>& h, const std::vector<Out<T>>& c,
            const std::optional<Out<T>>& feed, const std::optional<Array<T>>& memory,
            const Numbers& lengths, const std::optional<Array<T>>& fed, const Out<T>& log_probs,
            const std::optional<Out<T>>& weights) const {
    check(tokens.ndim() == 2, "tokens must be [N, K]");
    const auto rows = static_cast<int64_t>(tokens.shape(0)), beam = static_cast<int64_t>(tokens.shape(1));
    const int64_t count = rows * beam, V = decoder_.sizes.vocabulary;
    check_states(h, c, count);
    const int64_t steps = check_sources(memory, lengths, fed, rows);
    for (int64_t i = 0; i < count; ++i)
      check(tokens.data()[i] >= 0 && tokens.data()[i] < V,
            "token " + std::to_string(tokens.data()[i]) + " is outside 0.." + std::to_string(V - 1));
    expect("log_probs", log_probs, {rows, beam, V});
    check(feed.has_value() == decoder_.sizes.feeding, "feed goes with a decoder that is fed");
    if (feed) expect("feed", *feed, {count, decoder_.sizes.readout});
    check(weights.has_value() == memory.has_value(), "weights go with a memory");
    if (weights) expect("weights", *weights, {rows, beam, steps});
    const WithoutGil release;
    run_step(tokens.data(), h, c, feed ? feed->data() : nullptr, memory ? memory->data() : nullptr,
             lengths.data(), fed ? fed->data() : nullptr, log_probs.data(),
             weights ? weights->data() : nullptr, rows, beam, steps);
  }

  nb::list search(const std::vector<Array<T>>& h, const std::vector<Array<T>>& c,
                  const std::optional<Array<T>>& memory, const Numbers& lengths,
                  const std::optional<Array<T>>& fed, const Numbers& limits, int64_t beam,
                  int64_t best, double length_penalty, const std::vector<int64_t>& special) const {
    const auto rows = static_cast<int64_t>(lengths.size());
    check_states(h, c, rows);
    const int64_t steps = check_sources(memory, lengths, fed, rows);
    expect("limits", limits, {rows});
    check(best >= 1 && best <= beam, "best must lie in 1..beam");
    for (int64_t n = 0; n < rows; ++n) check(limits.data()[n] >= 1, "limits must be 1 or more");
    check(special.size() == 3 && *std::min_element(special.begin(), special.end()) >= 0 &&
              *std::max_element(special.begin(), special.end()) < decoder_.sizes.vocabulary,
          "special must name <pad>, <s> and </s> of the vocabulary");
    checked_product(beam, 64, checked_product(rows, decoder_.log_prob_stride()));
    Sources<T> sources{rows, steps, {}, {}, memory ? memory->data() : nullptr, lengths.data(),
                       fed ? fed->data() : nullptr, limits.data()};
    for (const auto& each : h) sources.h.push_back(each.data());
    for (const auto& each : c) sources.c.push_back(each.data());
    const SearchOptions options{beam, best, length_penalty, special[0], special[1], special[2]};
    std::vector<std::vector<Written<T>>> found;
    {
      const WithoutGil release;
      found = unrolled::search(decoder_, sources, options);
    }
    nb::list all;
    for (int64_t n = 0; n < rows; ++n) all.append(listed(found[static_cast<size_t>(n)], lengths.data()[n]));
    return all;
  }

 private:
  void read_source(const Named<T>& named) {
    DecoderSizes& sizes = decoder_.sizes;
    sizes.keys_are_memory = false;
    if (sizes.scorer == Scorer::none) return;
    const Array<T> source = named.get("source");
    check(source.ndim() == 2, "source must be [M, A + ...]");
    sizes.memory = static_cast<int64_t>(source.shape(0));
    const int64_t context = sizes.given() - sizes.context_at();
    const auto columns = static_cast<int64_t>(source.shape(1));
    sizes.keys_are_memory = columns == context;
    sizes.keys = sizes.keys_are_memory ? sizes.memory : columns - context;
    check(sizes.keys > 0 && sizes.memory > 0, "source has too few columns");
    decoder_.source = named.matrix(decoder_, "source", sizes.memory, columns, true);
    if (sizes.scorer == Scorer::dot) {
      check(sizes.keys == sizes.hidden.back(), "keys of a dot must be as wide as the state");
      return;
    }
    check(!sizes.keys_are_memory, "source has no columns of keys");
    const Array<T> v = named.get("score", {sizes.keys});
    decoder_.scorer.assign(v.data(), v.data() + sizes.keys);
    if (sizes.scorer == Scorer::concat)
      decoder_.query = named.matrix(decoder_, "query", sizes.hidden.back(), sizes.keys, false);
  }

  void read_layer(const Named<T>& named, int64_t l) {
    const DecoderSizes& sizes = decoder_.sizes;
    const std::string at = std::to_string(l);
    const int64_t H = sizes.hidden[static_cast<size_t>(l)];
    checked_product(H, checked_sum(sizes.gates(l), sizes.keys));
    const bool asks = sizes.scorer == Scorer::additive && l == sizes.layers() - 1;
    decoder_.recurrent.push_back(named.matrix(decoder_, "recurrent." + at, H,
                                              sizes.gates(l) + (asks ? sizes.keys : 0), true));
    decoder_.inputs.emplace_back();
    if (l > 0)
      decoder_.inputs.back() = named.matrix(
          decoder_, "input." + at, sizes.hidden[static_cast<size_t>(l - 1)], sizes.gates(l), true);
  }

  static void check_lengths(const Numbers& lengths, int64_t rows, int64_t steps, int64_t least) {
    expect("lengths", lengths, {rows});
    for (int64_t n = 0; n < rows; ++n)
      check(lengths.data()[n] >= least && lengths.data()[n] <= steps,
            "row " + std::to_string(n) + ": length " + std::to_string(lengths.data()[n]) +
                " is outside " + std::to_string(least) + ".." + std::to_string(steps));
  }

  template <class A>
  void check_states(const std::vector<A>& h, const std::vector<A>& c, int64_t count) const {
    const auto layers = static_cast<size_t>(decoder_.sizes.layers());
    check(h.size() == layers && c.size() == (decoder_.sizes.cell == Cell::lstm ? layers : 0),
          "a state has h, and for an LSTM c, of each layer");
    for (size_t l = 0; l < layers; ++l) {
      expect("h", h[l], {count, decoder_.sizes.hidden[l]});
      if (!c.empty()) expect("c", c[l], {count, decoder_.sizes.hidden[l]});
    }
  }

  int64_t check_sources(const std::optional<Array<T>>& memory, const Numbers& lengths,
                        const std::optional<Array<T>>& fed, int64_t rows) const {
    check(memory.has_value() == (decoder_.sizes.scorer != Scorer::none),
          "a memory goes with attention");
    if (fed) expect("fed", *fed, {rows, decoder_.sizes.given()});
    if (!memory) {
      expect("lengths", lengths, {rows});
      return 0;
    }
    check(memory->ndim() == 3, "memory must be [N, S, W]");
    const auto steps = static_cast<int64_t>(memory->shape(1));
    expect("memory", *memory, {rows, steps, decoder_.sizes.source_width()});
    check_lengths(lengths, rows, steps, 1);
    return steps;
  }

  void run_step(const int64_t* tokens, const std::vector<Out<T>>& h, const std::vector<Out<T>>& c,
                T* feed, const T* memory, const int64_t* lengths, const T* fed, T* log_probs,
                T* weights, int64_t rows, int64_t beam, int64_t steps) const {
    const DecoderSizes& sizes = decoder_.sizes;
    const int64_t count = rows * beam, V = sizes.vocabulary;
    std::vector<Values<T>> held;
    const auto padded = [&](T* from, int64_t width) {
      held.emplace_back(static_cast<size_t>(count * decoder_.stride(width)));
      move_rows(from, width, held.back().data(), decoder_.stride(width), count, width);
      return held.back().data();
    };
    std::vector<const T*> sources, given;
    for (int64_t n = 0; n < rows; ++n) {
      sources.push_back(memory + n * steps * sizes.source_width());
      if (fed != nullptr) given.push_back(fed + n * sizes.given());
    }
    Values<T> found(static_cast<size_t>(count * decoder_.log_prob_stride()));
    DecoderStep<T> call{rows, beam, tokens, sources.data(), lengths,
                        fed != nullptr ? given.data() : nullptr, {}, {}, nullptr, found.data(),
                        weights, steps};
    held.reserve(h.size() + c.size() + 1);
    for (size_t l = 0; l < h.size(); ++l) call.h.push_back(padded(h[l].data(), sizes.hidden[l]));
    for (size_t l = 0; l < c.size(); ++l) call.c.push_back(padded(c[l].data(), sizes.hidden[l]));
    if (feed != nullptr) call.feed = padded(feed, sizes.readout);
    if (weights != nullptr) std::fill_n(weights, count * steps, T(0));
    typename Decoder<T>::Scratch scratch;
    decoder_.step(call, scratch);
    for (size_t l = 0; l < h.size(); ++l)
      move_rows(call.h[l], decoder_.stride(sizes.hidden[l]), h[l].data(), sizes.hidden[l], count,
                sizes.hidden[l]);
    for (size_t l = 0; l < c.size(); ++l)
      move_rows(call.c[l], decoder_.stride(sizes.hidden[l]), c[l].data(), sizes.hidden[l], count,
                sizes.hidden[l]);
    if (feed != nullptr)
      move_rows(call.feed, decoder_.stride(sizes.readout), feed, sizes.readout, count, sizes.readout);
    move_rows(found.data(), decoder_.log_prob_stride(), log_probs, V, count, V);
  }

  static void move_rows(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t count,
                        int64_t width) {
    for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * from_stride, width, to + i * to_stride);
  }

  nb::list listed(std::vector<Written<T>>& row, int64_t length) const {
    nb::list found;
    for (Written<T>& each : row) {
      nb::list tokens;
      for (const int64_t token : each.tokens) tokens.append(token);
      nb::object alignment = nb::none();
      if (decoder_.sizes.scorer != Scorer::none) {
        auto kept = std::make_unique<std::vector<T>>(std::move(each.alignment));
        T* const data = kept->data();
        const nb::capsule owner(kept.get(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
        kept.release();
        const size_t shape[2] = {each.tokens.size(), static_cast<size_t>(length)};
        alignment = nb::cast(nb::ndarray<nb::numpy, T>(data, 2, shape, owner));
      }
      found.append(nb::make_tuple(nb::tuple(tokens), each.score, each.log_prob, alignment));
    }
    return found;
  }

  Decoder<T> decoder_;
  Array<T> embedding_;
};

template <class T>
void bind(nb::module_& m, const char* name) {
  using Bound = BoundDecoder<T>;
  nb::class_<Bound>(m, name)
      .def(nb::init<const std::string&, const std::string&, const std::vector<int64_t>&, bool,
                    const nb::dict&>(),
           nb::arg("cell"), nb::arg("scorer"), nb::arg("hidden"), nb::arg("feeding"), nb::arg("arrays"))
      .def_prop_ro("source_width", &Bound::source_width)
      .def("project", &Bound::project, nb::arg("memory").noconvert(), nb::arg("lengths").noconvert(),
           nb::arg("out").noconvert())
      .def("step", &Bound::step, nb::arg("tokens").noconvert(), nb::arg("h").noconvert(),
           nb::arg("c").noconvert(), nb::arg("feed").noconvert().none(),
           nb::arg("memory").noconvert().none(), nb::arg("lengths").noconvert(),
           nb::arg("fed").noconvert().none(), nb::arg("log_probs").noconvert(),
           nb::arg("weights").noconvert().none())
      .def("search", &Bound::search, nb::arg("h").noconvert(), nb::arg("c").noconvert(),
           nb::arg("memory").noconvert().none(), nb::arg("lengths").noconvert(),
           nb::arg("fed").noconvert().none(), nb::arg("limits").noconvert(), nb::arg("beam"),
           nb::arg("best"), nb::arg("length_penalty"), nb::arg("special"));
}

}  // namespace

void bind_decoder(nb::module_& m) {
  bind<float>(m, "DecoderF32");
  bind<double>(m, "DecoderF64");
}

}  // namespace unrolled
