"""How well a generator foretells: likelihood of text and frames, ranks of next items."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unrolled.data.items import Corpus
from unrolled.data.streams import Ids
from unrolled.data.vocab import BOS, SPECIALS, UNK
from unrolled.runtime.generator_model import CHUNK, GeneratorModel, frame_losses

Array = Any


def stream_metrics(
    model: GeneratorModel, ids: Ids, *, characters: int | None = None
) -> dict[str, Any]:
    """Return nats, bits and perplexity a unit over ids[1:], the state carried through them all.

    nats = mean -log p(id | all before), bits = nats / log 2, perplexity = exp(nats). Where the text
    has so many `characters`, bits_per_character = sum -log2 p / characters, which compares models
    of characters, of words and of BPE; a unit that is not known counts by what `<unk>` costs.
    """
    total, count, unknown = 0.0, 0, 0
    for losses in model.stream_losses(ids):
        total += float(losses.sum(dtype=np.float64))
        count += len(losses)
    unknown = int((np.asarray(ids[1:]) == UNK).sum())
    found = per_unit(total, count)
    if characters:
        found["bits_per_character"] = total / math.log(2) / characters
    return {**found, "count": count, "unknown": unknown}


def per_unit(total: float, count: int) -> dict[str, float]:
    """Return nats, bits and perplexity of a sum of nats over `count` units."""
    nats = total / max(count, 1)
    return {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(min(nats, 700))}


def frame_metrics(model: GeneratorModel, corpus: Corpus) -> dict[str, Any]:
    """Return -log p a frame in nats, summed over keys (Chung et al. 2014, section 4.1).

    `nats` counts every frame, the first from silence; `nats_after_first` all but the first of each
    sequence, as Bai et al. 2018 count, where there are others. Both are means over frames;
    `nats_by_sequence` is the mean over sequences of each one's own mean, to which a short one adds
    as much as a long one.
    """
    losses = [frame_losses(model.network, model.frames(each)) for each in corpus.sequences]
    later = np.concatenate([each[1:] for each in losses])
    every = np.concatenate(losses)
    return {
        "nats": float(every.mean()),
        **({"nats_after_first": float(later.mean())} if len(later) else {}),
        "nats_by_sequence": float(np.mean([each.mean() for each in losses])),
        "count": len(losses),
        "steps": len(every),
    }


def next_item_metrics(
    model: GeneratorModel, corpus: Corpus, *, exclude_seen: bool = True
) -> dict[str, Any]:
    """Rank the last item of each sequence after the others (leave one out), a lone one at first.

    With rank r from 1 among all items but those before it: hr@10 and recall@20 are the shares of
    r <= 10 and 20; ndcg@10 the mean of 1 / log2(r + 1) there, else 0; mrr@20 of 1 / r. Where the
    file holds negatives, `negatives_` names the same among these and the last item only. An item
    that the model does not know counts as missed, and equal scores count against the item.
    """
    histories, targets = [], []
    for items in corpus.sequences:
        ids = model.encode(items)
        histories.append(ids[:-1])
        targets.append(ids[-1])
    ranks, among = [], []
    size = 256
    for begin in range(0, len(histories), size):
        part = slice(begin, begin + size)
        scores = model.next_scores(histories[part], exclude_seen=False)
        for row, (history, target) in enumerate(zip(histories[part], targets[part], strict=True)):
            own = scores[row, target]
            if exclude_seen:
                scores[row, [k for k in history if k != target]] = -np.inf
            ranks.append(_rank(own, scores[row]))
            if corpus.negatives is not None:
                others = set(model.encode(corpus.negatives[begin + row])) - {target}
                others.discard(UNK)
                among.append(_rank(own, scores[row, sorted(others)], of_itself=0))
    metrics = rank_metrics(np.array(ranks))
    if among:
        found = rank_metrics(np.array(among))
        metrics |= {f"negatives_{name}": value for name, value in found.items()}
    return {**metrics, "count": len(ranks)}


def every_step_metrics(model: GeneratorModel, corpus: Corpus) -> dict[str, Any]:
    """Rank every item but a sequence's first after those before it, as in sessions.

    `steps_recall@20` and `steps_mrr@20` are means over steps, among all items, also those that were
    there before, to which a session may return (Hidasi et al. 2016, section 4). Empty where no
    sequence has two items.
    """
    ranks: list[Array] = []
    for items in corpus.sequences:
        ids = np.array([BOS, *model.encode(items)])
        state: Any = None
        for begin in range(0, len(ids) - 1, CHUNK):
            part = ids[begin : begin + CHUNK + 1]
            scores, state = model.network.log_probs(part[None, :-1], state)
            scores[:, :, : len(SPECIALS)] = -np.inf
            own = scores[0, np.arange(len(part) - 1), part[1:]]
            places = (scores[0] >= own[:, None]).sum(axis=1).astype(np.float64)
            ranks.append(np.where(np.isneginf(own), np.inf, places)[0 if begin else 1 :])
    every = np.concatenate(ranks) if ranks else np.empty(0)
    if not len(every):
        return {}
    found = rank_metrics(every)
    kept = {f"steps_{name}": found[name] for name in ("recall@20", "mrr@20")}
    return {**kept, "steps": len(every)}


def _rank(own: float, scores: Array, of_itself: int = 1) -> float:
    if own == -np.inf:
        return math.inf
    return 1.0 + float((scores >= own).sum() - of_itself)


def rank_metrics(ranks: Array) -> dict[str, float]:
    """Return hr@10, ndcg@10, recall@20 and mrr@20 of ranks that begin at 1."""
    return {
        "hr@10": float((ranks <= 10).mean()),
        "ndcg@10": float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean()),
        "recall@20": float((ranks <= 20).mean()),
        "mrr@20": float(np.where(ranks <= 20, 1 / ranks, 0).mean()),
    }


def sequence_metrics(model: GeneratorModel, corpus: Corpus) -> dict[str, Any]:
    """Return nats and perplexity an item, the end counted where the model has learned it."""
    total, count = 0.0, 0
    for each in corpus.sequences:
        for losses in model.losses(each):
            total += float(losses.sum(dtype=np.float64))
            count += len(losses)
    return per_unit(total, count)
