"""The benchmark: `unrolled` and its peers, turn about in one process, with equal threads.

It ships with the package so that `unrolled bench` works from an install, and `make bench` calls it;
the repository's own folder `bench/` has no part in it. The peers come with the extra `bench`.

Grids. `core` and `full` have layers at every task; `sessions` steps that keep their state, in every
precision; `decode` whole answers of a translator, the peer an eager loop of torch.

Method. Every side of a case gets the same weights and inputs, in the layout it runs fastest, and
must agree with torch in float64 before it is timed; one that does not is reported instead. Then
the sides take turns in short rounds, another one first each time, and a side's number is the median
of its rounds: drift and noise meet all alike. A ratio is between two medians of one case. Speed is
in useful operations (`Case.operations`): padding and recomputation earn nothing. Peak is the best
seen at that number of threads, of a matrix product or of any side. Runs are never compared.
"""
