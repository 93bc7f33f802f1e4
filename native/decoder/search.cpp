#include "decoder/search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "decoder/blocks.h"

namespace unrolled {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
// Hypotheses of a block: enough that weights are read for many of them, few enough that their states
// stay near.
constexpr int64_t kBlock = 64;

struct Candidate {
  double total;
  int64_t parent, token;
};

struct Ending {
  double score, log_prob;
  int64_t length, slot;
};

// What one row has written: tokens and parents [steps, beam], attention [1 + (steps - 1) * beam, S].
template <class T>
struct Trace {
  std::vector<int64_t> tokens, parents;
  std::vector<T> weights;
  std::vector<Ending> finished;
};

double length_norm(int64_t steps, double penalty) {
  return std::pow((5.0 + static_cast<double>(steps)) / 6.0, penalty);
}

bool ended(std::vector<Ending>& finished, const SearchOptions& options, double bound) {
  const auto count = static_cast<int64_t>(finished.size());
  if (bound == kNever || count >= options.beam) return true;
  if (count < options.best) return false;
  std::vector<double> scores;
  for (const Ending& each : finished) scores.push_back(each.score);
  const auto nth = scores.begin() + (options.best - 1);
  std::nth_element(scores.begin(), nth, scores.end(), std::greater<>());
  return *nth >= bound;
}

// Keeps the `most` largest totals, largest first; of equal ones the first that came.
class Best {
 public:
  void clear(int64_t most) {
    most_ = static_cast<size_t>(most);
    kept_.clear();
  }
  void offer(double total, int64_t parent, int64_t token) {
    if (!(total > (kept_.size() == most_ ? kept_.back().total : kNever))) return;
    const Candidate candidate{total, parent, token};
    const auto place =
        std::upper_bound(kept_.begin(), kept_.end(), candidate,
                         [](const Candidate& a, const Candidate& b) { return a.total > b.total; });
    if (kept_.size() == most_) kept_.pop_back();
    kept_.insert(place, candidate);
  }
  const std::vector<Candidate>& kept() const { return kept_; }

 private:
  size_t most_ = 0;
  std::vector<Candidate> kept_;
};

// The states of a block's hypotheses, twice: a step's survivors are gathered into the other one.
template <class T>
struct States {
  std::vector<Values<T>> h, c;
  Values<T> feed;
  States(const Decoder<T>& decoder, int64_t count, bool lstm) {
    for (const int64_t width : decoder.sizes.hidden) {
      h.emplace_back(static_cast<size_t>(count * decoder.stride(width)));
      if (lstm) c.emplace_back(h.back().size());
    }
    if (decoder.sizes.feeding)
      feed.resize(static_cast<size_t>(count * decoder.stride(decoder.sizes.readout)));
  }
  void take(const States& from, int64_t source, int64_t target, const Decoder<T>& decoder) {
    const auto copy = [&](const Values<T>& a, Values<T>& b, int64_t width) {
      std::copy_n(a.data() + source * width, width, b.data() + target * width);
    };
    for (size_t l = 0; l < h.size(); ++l) {
      const int64_t width = decoder.stride(decoder.sizes.hidden[l]);
      copy(from.h[l], h[l], width);
      if (!c.empty()) copy(from.c[l], c[l], width);
    }
    if (!feed.empty()) copy(from.feed, feed, decoder.stride(decoder.sizes.readout));
  }
};

// The search of rows [first, first + count), which advance together; a row that has ended leaves.
template <class T>
class BlockSearch {
 public:
  BlockSearch(const Decoder<T>& decoder, const Sources<T>& sources, const SearchOptions& options,
              int64_t first, int64_t count)
      : decoder_(decoder),
        sources_(sources),
        options_(options),
        first_(first),
        now_(decoder, count * options.beam, decoder.sizes.cell == Cell::lstm),
        next_(now_),
        traces_(static_cast<size_t>(count)),
        log_probs_(static_cast<size_t>(count * options.beam * decoder.log_prob_stride())),
        weights_(static_cast<size_t>(count * options.beam * weight_stride())) {
    for (int64_t row = 0; row < count; ++row) {
      rows_.push_back(row);
      begin(row);
    }
  }

  void run(std::vector<Written<T>>* out) {
    const auto count = static_cast<int64_t>(rows_.size());
    tokens_.assign(static_cast<size_t>(count), options_.begin);
    totals_.assign(static_cast<size_t>(count), 0.0);
    for (int64_t length = 0, beam = 1; !rows_.empty(); ++length, beam = options_.beam) {
      step(beam);
      advance(length, beam);
    }
    for (int64_t row = 0; row < count; ++row) out[row] = read(row);
  }

 private:
  int64_t weight_stride() const {
    return decoder_.sizes.scorer == Scorer::none ? 0 : sources_.steps;
  }
  Trace<T>& trace(int64_t row) { return traces_[static_cast<size_t>(row)]; }

  void begin(int64_t row) {
    for (size_t l = 0; l < now_.h.size(); ++l) {
      const int64_t width = decoder_.sizes.hidden[l], stride = decoder_.stride(width);
      std::copy_n(sources_.h[l] + (first_ + row) * width, width, now_.h[l].data() + row * stride);
      if (!now_.c.empty())
        std::copy_n(sources_.c[l] + (first_ + row) * width, width, now_.c[l].data() + row * stride);
    }
  }

  void step(int64_t beam) {
    const int64_t width = decoder_.sizes.source_width();
    memory_.clear();
    lengths_.clear();
    fed_.clear();
    for (const int64_t row : rows_) {
      const int64_t at = first_ + row;
      memory_.push_back(sources_.memory + at * sources_.steps * width);
      lengths_.push_back(sources_.lengths[at]);
      if (sources_.fed != nullptr) fed_.push_back(sources_.fed + at * decoder_.sizes.given());
    }
    DecoderStep<T> call{};
    call.rows = static_cast<int64_t>(rows_.size());
    call.beam = beam;
    call.tokens = tokens_.data();
    call.sources = memory_.data();
    call.lengths = lengths_.data();
    call.fed = fed_.empty() ? nullptr : fed_.data();
    for (Values<T>& h : now_.h) call.h.push_back(h.data());
    for (Values<T>& c : now_.c) call.c.push_back(c.data());
    call.feed = now_.feed.data();
    call.log_probs = log_probs_.data();
    call.weights = weights_.data();
    call.weight_stride = weight_stride();
    decoder_.step(call, scratch_);
  }

  // The continuations of the hypotheses at `place`, the likeliest first.
  void choose(int64_t place, int64_t beam, bool at_limit) {
    const int64_t V = decoder_.sizes.vocabulary;
    best_.clear(2 * options_.beam);
    for (int64_t k = place * beam; k < (place + 1) * beam; ++k) {
      const double total = totals_[static_cast<size_t>(k)];
      if (total == kNever) continue;
      const T* const log_probs = log_probs_.data() + k * decoder_.log_prob_stride();
      const int64_t parent = k - place * beam;
      if (at_limit) {
        best_.offer(total + static_cast<double>(log_probs[options_.end]), parent, options_.end);
        continue;
      }
      for (int64_t token = 0; token < V; ++token)
        if (token != options_.pad && token != options_.begin)
          best_.offer(total + static_cast<double>(log_probs[token]), parent, token);
    }
  }

  void advance(int64_t length, int64_t beam) {
    const double norm = length_norm(length + 1, options_.length_penalty);
    std::vector<int64_t> staying, tokens;
    std::vector<double> totals;
    int64_t target = 0;
    for (size_t place = 0; place < rows_.size(); ++place) {
      const int64_t row = rows_[place], limit = sources_.limits[first_ + row];
      const auto at = static_cast<int64_t>(place);
      choose(at, beam, length >= limit);
      Trace<T>& written = trace(row);
      keep_weights(written, at, beam, sources_.lengths[first_ + row]);
      slots_.clear();
      for (size_t rank = 0; rank < best_.kept().size(); ++rank) {
        const Candidate& each = best_.kept()[rank];
        if (each.token != options_.end) {
          if (static_cast<int64_t>(slots_.size()) < options_.beam) slots_.push_back(each);
        } else if (static_cast<int64_t>(rank) < options_.beam) {
          written.finished.push_back({each.total / norm, each.total, length, each.parent});
        }
      }
      const double most = slots_.empty() ? kNever : slots_.front().total;
      const double bound = most / length_norm(limit + 1, options_.length_penalty);
      if (ended(written.finished, options_, bound)) continue;
      // A slot without a continuation stands empty: its total keeps it from being continued.
      slots_.resize(static_cast<size_t>(options_.beam), {kNever, 0, options_.end});
      staying.push_back(row);
      for (const Candidate& each : slots_) {
        next_.take(now_, at * beam + each.parent, target++, decoder_);
        tokens.push_back(each.token);
        totals.push_back(each.total);
        written.tokens.push_back(each.token);
        written.parents.push_back(each.parent);
      }
    }
    std::swap(now_, next_);
    rows_ = std::move(staying);
    tokens_ = std::move(tokens);
    totals_ = std::move(totals);
  }

  void keep_weights(Trace<T>& written, int64_t place, int64_t beam, int64_t steps) {
    if (decoder_.sizes.scorer == Scorer::none) return;
    for (int64_t k = place * beam; k < (place + 1) * beam; ++k) {
      const T* const weights = weights_.data() + k * weight_stride();
      written.weights.insert(written.weights.end(), weights, weights + steps);
    }
  }

  std::vector<Written<T>> read(int64_t row) {
    Trace<T>& written = trace(row);
    std::stable_sort(written.finished.begin(), written.finished.end(),
                     [](const Ending& a, const Ending& b) { return a.score > b.score; });
    std::vector<Written<T>> found;
    for (const Ending& end : written.finished) {
      if (static_cast<int64_t>(found.size()) == options_.best) break;
      found.push_back(follow(written, end, sources_.lengths[first_ + row]));
    }
    return found;
  }

  // Reads a hypothesis back from its end: a slot's parent is the slot before that it continues.
  Written<T> follow(const Trace<T>& written, const Ending& end, int64_t steps) const {
    const bool aligned = decoder_.sizes.scorer != Scorer::none;
    const int64_t beam = options_.beam;
    Written<T> found{std::vector<int64_t>(static_cast<size_t>(end.length)), end.score, end.log_prob,
                     std::vector<T>(static_cast<size_t>(aligned ? end.length * steps : 0))};
    int64_t slot = end.slot;
    for (int64_t t = end.length - 1; t >= 0; --t) {
      const auto at = static_cast<size_t>(t * beam + slot);
      found.tokens[static_cast<size_t>(t)] = written.tokens[at];
      slot = written.parents[at];
      const int64_t before = t == 0 ? 0 : 1 + (t - 1) * beam;
      if (aligned)
        std::copy_n(written.weights.data() + (before + slot) * steps, steps,
                    found.alignment.data() + t * steps);
    }
    return found;
  }

  const Decoder<T>& decoder_;
  const Sources<T>& sources_;
  const SearchOptions& options_;
  const int64_t first_;
  States<T> now_, next_;
  std::vector<Trace<T>> traces_;
  Values<T> log_probs_, weights_;
  typename Decoder<T>::Scratch scratch_;
  std::vector<int64_t> rows_, tokens_, lengths_;
  std::vector<double> totals_;
  std::vector<const T*> memory_, fed_;
  Best best_;
  std::vector<Candidate> slots_;
};

}  // namespace

template <class T>
std::vector<std::vector<Written<T>>> search(const Decoder<T>& decoder, const Sources<T>& sources,
                                            const SearchOptions& options) {
  std::vector<std::vector<Written<T>>> found(static_cast<size_t>(sources.rows));
  const int64_t most = std::max<int64_t>(1, kBlock / options.beam);
  over_blocks(sources.rows, most, [&](int64_t first, int64_t count) {
    BlockSearch<T>(decoder, sources, options, first, count).run(found.data() + first);
  });
  return found;
}

template std::vector<std::vector<Written<float>>> search(const Decoder<float>&, const Sources<float>&,
                                                         const SearchOptions&);
template std::vector<std::vector<Written<double>>> search(const Decoder<double>&,
                                                          const Sources<double>&,
                                                          const SearchOptions&);

}  // namespace unrolled
