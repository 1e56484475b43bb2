"""Names of output files: every input has its own, and it mirrors where the input lies."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from asr.text import readable

# The run log stands beside the outputs.
RESERVED = frozenset({"asr-run"})


@dataclass(frozen=True)
class Named:
    """An input and how it would like to be called.

    Attributes:
        path: the file.
        relative: its path below what was named, with its ending.
        whole: whether the name has no ending to be dropped, as ids of manifests.
    """

    path: str
    relative: str
    whole: bool = False


def distinct_names(inputs: Sequence[Named]) -> tuple[list[str], list[str]]:
    """Give every input a name of its own, without ending.

    An input is called by its path below the folder that was named. Where several would be called
    alike they keep their endings (``a.mp3`` and ``a.wav``) or, where these are the same too, the
    folders in which they differ; what is alike still is numbered.

    Args:
        inputs: in order.

    Returns:
        The names, and a sentence for each that differs from what it would be alone.
    """
    plain = [_inside(each.relative if each.whole else _stem(each.relative)) for each in inputs]
    names = list(plain)
    for rename in (_with_ending, _with_folders):
        for positions in _alike(names):
            for position, name in zip(
                positions, rename([inputs[each] for each in positions]), strict=True
            ):
                names[position] = name
    taken: set[str] = set(RESERVED)
    counts = Counter(names)
    for position, name in enumerate(names):
        number = 1
        unique = name
        while unique in taken or (number > 1 and counts[unique]):
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique)
        names[position] = unique
    notes = [
        f"{readable(each.path)} is written as {readable(name)}, since another input would have the "
        f"same name {readable(first)}"
        for each, first, name in zip(inputs, plain, names, strict=True)
        if name != first
    ]
    return names, notes


def _alike(names: Sequence[str]) -> list[list[int]]:
    positions: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        positions[name].append(position)
    return [group for group in positions.values() if len(group) > 1]


def _with_ending(inputs: Sequence[Named]) -> list[str]:
    return [_inside(each.relative) for each in inputs]


def _with_folders(inputs: Sequence[Named]) -> list[str]:
    # Links stay: they may be all that tells two inputs apart.
    paths = [str(Path(each.path).absolute()) for each in inputs]
    common = os.path.commonpath([Path(path).parent for path in paths])
    stems = {_stem(path) for path in paths}
    kept = [_stem(path) if len(stems) == len(paths) else path for path in paths]
    return [_inside(os.path.relpath(path, common)) for path in kept]


def _stem(relative: str) -> str:
    return str(PurePath(relative).with_suffix("")) if PurePath(relative).name else relative


def _inside(name: str) -> str:
    """Keep a name within the output folder: neither absolute nor climbing out of it."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "recording"
