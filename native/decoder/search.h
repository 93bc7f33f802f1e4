// Greedy and beam search with a decoder, all rows at once.
#pragma once

#include "decoder/decoder.h"

namespace unrolled {

// What is written about: N rows with S steps at most, and each row's limit of tokens.
template <class T>
struct Sources {
  int64_t rows, steps;
  std::vector<const T*> h, c;  // first states by layer, [N, H]; c empty but for LSTM
  const T* memory;             // [N, S, source_width], or null
  const int64_t* lengths;      // [N]
  const T* fed;                // [N, given], or null
  const int64_t* limits;       // [N], each 1 or more
};

struct SearchOptions {
  int64_t beam, best;
  double length_penalty;
  int64_t pad, begin, end;  // the tokens <pad>, <s>, which are never written, and </s>
};

// Tokens without <s> and </s>, and the attention by token [tokens, length of the row].
template <class T>
struct Written {
  std::vector<int64_t> tokens;
  double score, log_prob;
  std::vector<T> alignment;
};

// At every step the `beam` likeliest continuations of a row go on; one that writes </s> while among
// them is finished, with a score of its log-probability over ((5 + n) / 6)^length_penalty. A row ends
// when `beam` have finished, or when nothing unfinished can score above its `best` finished ones.
// Returns the `best` of each row, best first. Results do not depend on the number of threads.
template <class T>
std::vector<std::vector<Written<T>>> search(const Decoder<T>& decoder, const Sources<T>& sources,
                                            const SearchOptions& options);

}  // namespace unrolled
