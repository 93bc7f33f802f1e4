"""What the recurrent layers say to options and inputs that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from stacks import I
from unrolled import nn


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: nn.GRU(0, 4), "input_size must be at least 1, got 0"),
        (lambda: nn.GRU(3, 0), "one width of at least 1 per layer"),
        (lambda: nn.GRU(3, 4, 0), "num_layers must be at least 1, got 0"),
        (lambda: nn.GRU(3, (4, 5), 3), "num_layers=3 but hidden_size has 2 widths"),
        (lambda: nn.GRU(3, 4, dropout=1.5), r"dropout must be a probability in \[0, 1\], got 1.5"),
        (lambda: nn.RNN(3, 4, nonlinearity="tahn"), "Did you mean 'tanh'"),
        (lambda: nn.GRU(3, 4, merge="add"), "merge must be one of 'concat', 'sum'"),
        (lambda: nn.GRU(3, 4, engine="cudnn"), "engine must be one of 'auto'"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size must be at least 0 and below"),
        (lambda: nn.GRU(3, 4, proj_size=2), "proj_size is for LSTM only"),
        (lambda: nn.LSTM(3, 4, reset="before"), "reset='before' is for GRU only"),
        (lambda: nn.GRU(3, (4, 5), residual=True), "layer 1 reads width 4 but writes 5"),
    ],
)
def test_constructors_refuse_what_is_no_network(build, says):
    with pytest.raises(ValueError, match=says):
        build()


GRU = nn.GRU(I, 4, 2, batch_first=True)
LSTM = nn.LSTM(I, 4, batch_first=True)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GRU(torch.zeros(I)), r"must be \[N, T, I\], or \[T, I\] for one sequence"),
        (lambda: GRU(torch.zeros(2, 5, 7)), "last size must be input_size 3"),
        (lambda: GRU(torch.zeros(2, 0, I)), "at least one time step"),
        (lambda: GRU(torch.zeros(2, 5, I).double()), "input is torch.float64 but the weights"),
        (lambda: GRU(torch.zeros(2, 5, I, device="meta")), "input is on meta but the weights"),
        (lambda: GRU(torch.zeros(2, 5, I), torch.zeros(2, 3, 4)), r"shape \[2, 2, 4\], got"),
        (lambda: GRU(torch.zeros(5, I), torch.zeros(2, 1, 4)), r"shape \[2, 4\], got \[2, 1, 4\]"),
        (lambda: GRU(torch.zeros(2, 5, I), torch.zeros(2, 2, 4).double()), "h of hx is torch.floa"),
        (lambda: GRU(torch.zeros(2, 5, I), 0), "h of hx must be a tensor, got int"),
        (lambda: GRU(torch.zeros(2, 5, I), (torch.zeros(1, 2, 4),)), "one tensor per layer"),
        (lambda: LSTM(torch.zeros(2, 5, I), torch.zeros(1, 2, 4)), r"hx as a pair \(h, c\)"),
        (lambda: GRU(torch.zeros(2, 5, I), lengths=[5]), r"lengths must be \[N\] = \[2\]"),
        (
            lambda: GRU(torch.zeros(2, 5, I), lengths=[5, 6]),
            r"0..5 .*, got 6 in row 1",
        ),
        (lambda: GRU(torch.zeros(2, 5, I), lengths=[-1, 5]), "got -1 in row 0"),
        (lambda: GRU(torch.zeros(2, 5, I), lengths=[1.0, 2.0]), "lengths must be integers"),
        (lambda: GRU(torch.zeros(5, I), lengths=[5]), "lengths= needs a batch"),
        (
            lambda: nn.GRU(I, (4, 5))(torch.zeros(5, 2, I), torch.zeros(2, 2, 4)),
            "must be a tuple of 2 tensors",
        ),
        (
            lambda: GRU(pack_padded_sequence(torch.zeros(5, 1, I), [5]), lengths=[5]),
            "a PackedSequence has its own lengths",
        ),
    ],
)
def test_calls_say_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()
