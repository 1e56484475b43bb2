"""Count what asr.gru.GRU and torch.nn.GRU keep between forward and backward pass.

    python tools/benchmark/gru_memory.py [--size 1x256] [--size 5x512] [--checkpoint 100]

Prints the bytes of all tensors saved for the backward pass, the parameters left out, for each
frame of each sequence, and that in numbers of a direction's width. Storages that several layers
share count once. On the CPU torch.nn.GRU is made of single operations, on CUDA it is one of cuDNN,
whose reserve counts.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from asr.gru import GRU

Run = Callable[[Tensor], object]


def saved_bytes(run: Run, module: nn.Module, x: Tensor) -> int:
    """Bytes of the storages kept for the backward pass while the result is alive."""
    sizes: dict[int, int] = {}
    # Kept alive, so that no storage takes the address of one counted before.
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(run(x))
    for parameter in module.parameters():
        sizes.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(sizes.values())


def contenders(
    args: argparse.Namespace, layers: int, hidden: int, lengths: Tensor
) -> dict[str, tuple[nn.Module, Run]]:
    """The modules compared, of one size, and how each is run."""
    common = {"num_layers": layers, "bidirectional": not args.unidirectional}
    found: dict[str, tuple[nn.Module, Run]] = {}
    for reset in ("before", "after"):
        for name, frames in ((reset, None), (f"{reset}, checkpoints", args.checkpoint)):
            gru = GRU(args.features, hidden, reset=reset, checkpoint_frames=frames, **common)
            found[name] = gru, lambda x, gru=gru: gru(x, lengths)
    theirs = nn.GRU(args.features, hidden, batch_first=True, **common)

    def packed(x: Tensor) -> object:
        return theirs(nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False))

    return found | {"nn.GRU": (theirs, theirs), "nn.GRU packed": (theirs, packed)}


def compare(args: argparse.Namespace, size: str) -> None:
    """Measure and print the table of one size."""
    layers, hidden = map(int, size.split("x"))
    lengths = torch.full((args.batch,), args.frames)
    x = torch.randn(args.batch, args.frames, args.features, device=args.device)
    x.requires_grad_()
    directions = 1 if args.unidirectional else 2
    found = {}
    for name, (module, run) in tqdm(
        contenders(args, layers, hidden, lengths).items(), size, leave=False, file=sys.stderr
    ):
        found[name] = saved_bytes(run, module.to(args.device), x) / (args.batch * args.frames)
    print(f"\n{size}, {directions} directions, {args.features} features in")
    print(f"  {'':20}{'bytes':>10}{'widths':>10}{'x nn.GRU':>10}")
    width = 4 * hidden * directions * layers
    for name, value in found.items():
        print(f"  {name:20}{value:10.0f}{value / width:10.2f}{value / found['nn.GRU']:10.2f}")


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", help="LAYERSxHIDDEN (default 1x256 and 5x512)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--checkpoint", type=int, default=100, help="frames of a segment")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--unidirectional", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, {args.device}, batch {args.batch} x {args.frames} frames, "
        f"segments of {args.checkpoint}; saved for the backward pass by frame and sequence; a "
        "width is one float32 for each hidden unit of all layers and directions"
    )
    for size in args.size or ["1x256", "5x512"]:
        compare(args, size)


if __name__ == "__main__":
    main()
