"""A breakdown splits a score into groups: by speaker, part, length, duration, word frequency."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from asr.scoring.alignment import ErrorCounts
from asr.scoring.details import Details
from asr.scoring.score import Score, UtteranceScore

UNGROUPED = "(unknown)"
# Each bucket's smallest value; the last bucket has no end.
_WORDS = (0, 1, 2, 6, 11, 16, 21, 31, 41, 61)
_SECONDS = (0, 2, 5, 10, 15, 20, 30)
_OCCURRENCES = (0, 1, 2, 6, 11, 101, 1001)


@dataclass(frozen=True)
class Group:
    """The errors of some of a score's utterances.

    Attributes:
        name: what they have in common.
        utterances: how many they are.
        words: errors counted by words.
        characters: errors counted by characters.
        sentence_errors: utterances with at least one wrong word.
    """

    name: str
    utterances: int
    words: ErrorCounts
    characters: ErrorCounts
    sentence_errors: int


@dataclass(frozen=True)
class FrequencyClass:
    """How well the words are recognised that occur so often in the training text.

    Attributes:
        name: how often: ``0``, ``1``, ``2-5`` and so on.
        words: how many words of the references belong to the class.
        recognized: how many words of the hypotheses do.
        correct: how many words of the references were recognised.
    """

    name: str
    words: int
    recognized: int
    correct: int

    @property
    def recall(self) -> float:
        """Share of the words said that were recognised; 0 when none was said."""
        return self.correct / self.words if self.words else 0.0

    @property
    def precision(self) -> float:
        """Share of the words recognised that were said; 0 when none was recognised."""
        return self.correct / self.recognized if self.recognized else 0.0


def break_down(score: Score, groups: Mapping[str, str]) -> tuple[Group, ...]:
    """Sum a score's errors by groups of utterances.

    Args:
        score: what to split.
        groups: utterance id to its group's name, such as ``Details.speakers``.

    Returns:
        The groups by name, numbers in names by their value (``2`` before ``10``). Utterances
        without a group, or of the empty name, come last as ``(unknown)``, so that the groups
        always sum up to the score; nothing is returned when no utterance has a group.
    """
    members: dict[str, list[int]] = {}
    for place, utterance in enumerate(score.utterances):
        members.setdefault(groups.get(utterance.id) or UNGROUPED, []).append(place)
    if members.keys() <= {UNGROUPED}:
        return ()
    named = []
    for name in sorted(members, key=_natural_order):
        part = Score(tuple(score.utterances[place] for place in members[name]))
        named.append(
            Group(name, len(part.utterances), part.words, part.characters, part.sentence_errors)
        )
    return tuple(named)


def _natural_order(name: str) -> tuple[bool, list[tuple[int, str]]]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    numbered = [(int(piece), "") if piece[0] in "0123456789" else (-1, piece) for piece in pieces]
    # The full name last tells 07 from 7.
    return name == UNGROUPED, [*numbered, (-1, name)]


def length_groups(score: Score) -> dict[str, str]:
    """Group utterances by how many words their references have.

    Args:
        score: the utterances.

    Returns:
        Utterance id to a name such as ``6-10 words``.
    """
    names = [f"{name} {'word' if name == '1' else 'words'}" for name in _whole_numbers(_WORDS)]
    return {
        utterance.id: names[bisect_right(_WORDS, utterance.words.words) - 1]
        for utterance in score.utterances
    }


def duration_groups(details: Details) -> dict[str, str]:
    """Group utterances by how long their audio is.

    Args:
        details: says how long, in seconds.

    Returns:
        Utterance id to a name such as ``5-10 s``, which begins at 5 s and ends before 10 s; only
        utterances whose duration is known.
    """
    names = [f"{low}-{high} s" for low, high in pairwise(_SECONDS)]
    names.append(f"{_SECONDS[-1]} s or more")
    return {
        identity: names[bisect_right(_SECONDS, seconds) - 1]
        for identity, seconds in details.durations.items()
    }


def _whole_numbers(starts: tuple[int, ...]) -> list[str]:
    names = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(starts)]
    return [*names, f"{starts[-1]} or more"]


def frequency_classes(score: Score, training_texts: Iterable[str]) -> tuple[FrequencyClass, ...]:
    """Tell how well words are recognised by how often the training text holds them.

    Args:
        score: the utterances.
        training_texts: what the recogniser was trained on, in any portions; to be normalised as
            the score's texts were, since words are compared as they stand.

    Returns:
        One class each for words seen never, once, 2 to 5 times and so on, also where no word
        belongs to it.
    """
    seen: Counter[str] = Counter()
    for text in training_texts:
        seen.update(text.split())
    class_of: dict[str, int] = {}
    words, recognized, correct = ([0] * len(_OCCURRENCES) for _ in range(3))

    def place(word: str) -> int:
        if word not in class_of:
            class_of[word] = bisect_right(_OCCURRENCES, seen[word]) - 1
        return class_of[word]

    for utterance in score.utterances:
        for word in utterance.reference.split():
            words[place(word)] += 1
        for word in utterance.hypothesis.split():
            recognized[place(word)] += 1
        for said in _correct_words(utterance):
            correct[place(said)] += 1
    return tuple(
        FrequencyClass(*figures)
        for figures in zip(_whole_numbers(_OCCURRENCES), words, recognized, correct, strict=True)
    )


def _correct_words(utterance: UtteranceScore) -> list[str]:
    if not utterance.words.errors:
        return utterance.reference.split()
    # An aligner may compare more loosely than by equality; the reference's spelling counts.
    return [str(step.reference) for step in utterance.align().operations if step.kind == "C"]
