"""Makes the files of this folder: what torch writes, small, as seeds for tests of damage.

    python tests/golden/pytorch/make.py tests/golden/pytorch

Made with torch 2.13.0.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 2)
        self.cell = torch.nn.GRUCell(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


def pack(path: Path) -> None:
    """Write an archive again without debug files, its parts compressed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in parts.items():
            if not name.endswith(".debug_pkl"):
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.lstm.parameters())
    net(torch.zeros(1, 1, 2)).sum().backward()
    optimizer.step()
    whole = {"epoch": 1, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(net.state_dict(), folder / "state.pt")
    torch.save(whole, folder / "checkpoint.pt")
    torch.save(net.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(net).save(folder / "script.pt")
    for name in ("checkpoint.pt", "script.pt"):
        pack(folder / name)
    save_file(net.state_dict(), folder / "state.safetensors")
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    np.savez_compressed(folder / "state.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
