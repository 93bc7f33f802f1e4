"""How the file of a classifier or a regressor is read: what its ending and the options say."""

from __future__ import annotations

from unrolled.config import DataSpec, LabelsSpec
from unrolled.data.examples import format_of
from unrolled.data.shards import shard_paths
from unrolled.options import ClassifyOptions, PooledOptions, RegressOptions
from unrolled.tasks.pooled import data_spec
from unrolled.tasks.regress import target_names


def reading(options: PooledOptions, data: str, kind: str | None) -> DataSpec:
    """Return how `data` is to be read, by its ending and the options."""
    paths = shard_paths(data)
    shape = format_of(paths[0] if paths else data, kind)
    if isinstance(options, RegressOptions):
        names = target_names(options)
        return data_spec(options, shape, target=options.target, targets=names)
    assert isinstance(options, ClassifyOptions)
    labels = LabelsSpec(several=options.multi_label, separator=options.label_separator)
    return data_spec(options, shape, target=options.label, labels=labels)
