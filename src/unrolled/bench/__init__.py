"""The benchmark: `unrolled` and its peers, turn about in one process, with equal threads.

It ships with the package so that `unrolled bench` works from an install; `make bench` calls it. The
peers come with the extra `bench`. A run checks that all sides agree before it times any of them,
and no number in it depends on another run.
"""
