"""From files to batches: reading, vocabularies, buckets by length. Nothing here imports torch."""
