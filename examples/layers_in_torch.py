"""Use unrolled's layers in torch code: as drop-ins, with ragged rows, and in a small training loop.

Needs the extra `train`.
"""

import torch

from unrolled import nn

torch.manual_seed(0)

print("1. The weights of torch.nn load as they are, and give the same output.")
theirs = torch.nn.LSTM(8, 16, num_layers=2, batch_first=True, bidirectional=True)
ours = nn.LSTM(8, 16, num_layers=2, batch_first=True, bidirectional=True)
ours.load_state_dict(theirs.state_dict())
x = torch.randn(3, 10, 8)
difference = (ours(x)[0] - theirs(x)[0]).abs().max().item()
print(f"   largest difference {difference:.1e}; runs on {ours.engine_for(x).name!r}\n")

print("2. lengths= ends each row where it ends: no sorting, no packing.")
y, (h, _) = ours(x, lengths=[10, 3, 7])
print(f"   y {list(y.shape)}, past the end of row 1: {y[1, 3:].abs().max().item()}")
alone = ours(x[1:2, :3])[1][0]
difference = (h[:, 1:2] - alone).abs().max().item()
print(f"   row 1's last state against row 1 alone: largest difference {difference:.1e}\n")

print("3. What torch.nn lacks: a width per layer, merged directions, learned states, every state.")
layer = nn.GRU(
    8, (32, 16), batch_first=True, bidirectional=True, merge="sum", initial_state="learned"
)
y, h, states = layer(x, return_states=True)
print(f"   y {list(y.shape)}, h of each layer {[list(part.shape) for part in h]}")
print(f"   every state of layer 0: {list(states[0]['h'].shape)} = [N, T, D, H]\n")

print("4. The adding problem (Hochreiter and Schmidhuber 1997): add up two marked numbers of ten.")


def batch(rows: int, steps: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x [N, T, 2], numbers and marks, and the sum of each row's two marked numbers [N]."""
    numbers = torch.rand(rows, steps)
    marks = torch.zeros(rows, steps)
    marks.scatter_(1, torch.rand(rows, steps).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(1)


class Adder(torch.nn.Module):
    """The last state of a GRU, read out as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(2, 32, batch_first=True, init="orthogonal")
        self.output = torch.nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [N, T, 2] to sums [N]."""
        return self.output(self.recurrent(x)[1][-1]).squeeze(-1)


model = Adder()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(1, 201):
    x, wanted = batch(64)
    loss = torch.nn.functional.mse_loss(model(x), wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step in (1, 50, 100, 200):
        print(f"   step {step:>3}  squared error {loss.item():.4f}")
print("   always guessing the mean would leave 0.1667")
