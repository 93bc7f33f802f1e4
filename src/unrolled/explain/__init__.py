"""What a model learned, as numbers, sentences and pictures; pure functions of arrays, no torch."""
