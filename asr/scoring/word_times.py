"""Times of recognised words against true ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from asr.errors import ScoringError, UsageError
from asr.scoring.alignment import align
from asr.scoring.timed import read_ctm

Truth = Mapping[str, Sequence[tuple[float, str]]]
# Share of starts within this distance from the truth is told, in seconds.
NEAR_SECONDS = 0.1


class TimedText(Protocol):
    """A word that begins somewhere, such as ``asr.decoding.words.Word``."""

    @property
    def text(self) -> str:
        """The word."""

    @property
    def start(self) -> float:
        """When it begins, in seconds."""


@dataclass(frozen=True)
class StartErrors:
    """How far the starts of recognised words are from the truth.

    Attributes:
        seconds: of each word that stands in both, positive where it was found too late.
    """

    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        """The median distance."""
        return median(map(abs, self.seconds))

    @property
    def share_near(self) -> float:
        """Share of the words that start within ``NEAR_SECONDS`` of the truth."""
        return sum(abs(error) <= NEAR_SECONDS for error in self.seconds) / len(self.seconds)

    def __str__(self) -> str:
        return (
            f"median error of {len(self.seconds)} starts {1000 * self.median_seconds:.0f} ms, "
            f"{100 * self.share_near:.1f} % within {1000 * NEAR_SECONDS:.0f} ms"
        )


def start_errors(words: Mapping[str, Sequence[TimedText]], truth: Truth) -> StartErrors:
    """Compare the starts of words with true ones.

    Args:
        words: of each utterance.
        truth: start in seconds and text of each word that was said, by utterance.

    Raises:
        ScoringError: no word stands in both.
    """
    errors: list[float] = []
    for identity, found in words.items():
        said = truth.get(identity, ())
        operations = align([text for _, text in said], [word.text for word in found]).operations
        reference = hypothesis = 0
        for kind, _, _ in operations:
            if kind == "C":
                errors.append(found[hypothesis].start - said[reference][0])
            reference += kind != "I"
            hypothesis += kind != "D"
    if not errors:
        raise ScoringError(
            "no word of the true times was recognised; are they of this manifest's utterances?"
        )
    return StartErrors(tuple(errors))


def read_word_times(names: Sequence[str]) -> Truth:
    """Read true times of words.

    Args:
        names: ctm files whose first column is the utterance's id, or folders that hold such.

    Raises:
        UsageError: there is no such file, or no word in any.
        ScoringError: a file is broken.
    """
    truth: dict[str, list[tuple[float, str]]] = {}
    for name in names:
        paths = sorted(Path(name).rglob("*.ctm")) if Path(name).is_dir() else [Path(name)]
        if not paths:
            raise UsageError(f"the folder {name} holds no *.ctm; expected true times of words")
        for path in paths:
            timed = read_ctm(path, {})
            for identity, times in timed.word_times.items():
                words = timed.texts[identity].split()
                truth[identity] = [(start, w) for (start, _), w in zip(times, words, strict=True)]
    if not truth:
        raise UsageError(
            f"{', '.join(names)} hold no word; expected ctm: ID CHANNEL START ... WORD"
        )
    return truth
