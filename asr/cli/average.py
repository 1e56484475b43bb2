"""`asr average`: one model from the weights that a run has kept of several epochs."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `asr average` takes.

    Args:
        parser: of this verb.
    """
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of a run that was trained with averaging.epochs above 0",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="model folder to write (default: RUN/averaged)",
    )


def run(args: argparse.Namespace) -> int:
    """Average and say of which epochs.

    Args:
        args: as ``add_arguments`` describes them.

    Returns:
        0.
    """
    from asr.training.averaging import average_run

    out = args.output or args.run / "averaged"
    epochs = average_run(args.run, out)
    for one in epochs:
        print(f"epoch {one.epoch:3d}  dev WER {one.wer:.2f} %  dev loss {one.loss:.2f}")
    print(f"the mean of {len(epochs)} epochs' weights is {out}")
    return 0
