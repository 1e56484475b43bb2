"""How texts are compared: the options that `asr score` and `asr compare` share."""

import argparse
from collections.abc import Callable
from pathlib import Path

FORMATS = ("manifest", "text", "trn", "stm", "ctm", "librispeech", "lines")


def add_formats(parser: argparse.ArgumentParser, hypotheses: str) -> None:
    """Declare ``--format``, ``--ref-format`` and ``--hyp-format``.

    Args:
        parser: a verb's own parser.
        hypotheses: what the help calls the files of hypotheses.
    """
    whose = {"format": "all files", "ref-format": "REF", "hyp-format": hypotheses}
    for name, files in whose.items():
        parser.add_argument(
            f"--{name}",
            choices=FORMATS,
            metavar="NAME",
            help=f"format of {files}, one of {', '.join(FORMATS)} (default: found by name and "
            "content)",
        )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Declare ``--normalizer``, ``--equivalents`` and ``--align``.

    Args:
        parser: a verb's own parser.
    """
    from asr.text import NORMALIZERS

    rules = "; ".join(f"{rule.name}: {rule.summary}" for rule in NORMALIZERS.values())
    parser.add_argument(
        "--normalizer",
        choices=list(NORMALIZERS),
        default="none",
        help=f"applied to all texts before scoring (default: none). {rules}",
    )
    parser.add_argument(
        "--equivalents", type=Path, metavar="FILE", help="rules 'gonna => going to', one a line"
    )
    parser.add_argument(
        "--align",
        choices=("minimum", "sclite"),
        default="minimum",
        help="fewest errors, or as NIST's sclite aligns (default: %(default)s)",
    )


def read_rules(name: str, equivalents: Path | None) -> tuple[Callable[[str], str], str]:
    """Give what rewrites a text before it is compared, and what reports call it.

    Args:
        name: a normaliser's name.
        equivalents: a file of equivalents, or None.

    Raises:
        ScoringError: the file has a broken line.
    """
    from asr.scoring.equivalents import read_equivalents
    from asr.text import NORMALIZERS

    rule = NORMALIZERS[name]
    if equivalents is None:
        return rule, str(rule)
    same = read_equivalents(equivalents, rule)
    return lambda text: same(rule(text)), f"{rule} and {len(same)} equivalents of {equivalents}"
