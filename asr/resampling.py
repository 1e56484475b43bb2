"""Sample rates change by soxr's band-limited interpolation, whole or in blocks alike."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


def resample(waveform: Samples, source_rate: int, target_rate: int) -> Samples:
    """Change the sample rate of a waveform.

    Args:
        waveform: (S,) float32.
        source_rate: its rate in Hz.
        target_rate: the wanted rate in Hz.

    Returns:
        ``resampled_length(S, source_rate, target_rate)`` samples; the input itself at equal rates.
    """
    blocks = list(resample_blocks([waveform], source_rate, target_rate))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def resampled_length(samples: int, source_rate: int, target_rate: int) -> int:
    """Return how many samples resampling gives: ``samples * target / source``, halves rounded up.

    Args:
        samples: source samples.
        source_rate: in Hz.
        target_rate: in Hz.
    """
    return (2 * samples * target_rate + source_rate) // (2 * source_rate)


def resample_blocks(
    blocks: Iterable[Samples], source_rate: int, target_rate: int
) -> Iterator[Samples]:
    """Change the sample rate of a waveform that comes in blocks, however it is cut.

    Args:
        blocks: (S,) float32 each.
        source_rate: their rate in Hz.
        target_rate: the wanted rate in Hz.

    Yields:
        Blocks which, joined, are ``resample`` of the joined input; as they come at equal rates.
    """
    if source_rate == target_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        resampled = resampler.resample_chunk(block)
        if len(resampled):
            yield resampled
    yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def recut_blocks(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Cut a waveform that comes in blocks into blocks of one length.

    Args:
        blocks: (S,) float32 each.
        size: samples of every block but the last, which may be shorter.
    """
    held: list[Samples] = []
    missing = size
    for block in blocks:
        rest = block
        while len(rest) >= missing:
            held.append(rest[:missing])
            yield held[0] if len(held) == 1 else np.concatenate(held)
            rest, held, missing = rest[missing:], [], size
        if len(rest):
            held.append(rest)
            missing -= len(rest)
    if held:
        yield np.concatenate(held)
