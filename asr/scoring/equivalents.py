"""Equivalents are a user's own list of words that count as the same, one rule a line.

    # comments and empty lines are skipped
    gonna => going to
    doctor smith => dr smith
    uh =>

Every occurrence of the left side becomes the right side, in references and hypotheses alike; an
empty right side drops the words. Rules are tried from left to right, the longest left side first,
and once on each word: what a rule puts in is not replaced again. Both sides of a rule go through
the normaliser of the score, so that case and punctuation need not be thought of.
"""

from collections.abc import Callable
from pathlib import Path

from asr.errors import ScoringError
from asr.scoring.transcripts import read_lines

ARROW = "=>"


class Equivalents:
    """Rewrites texts by a list of rules.

    Args:
        rules: words to be replaced, and what to put in their place.
    """

    def __init__(self, rules: dict[tuple[str, ...], tuple[str, ...]]) -> None:
        self.rules = rules
        lengths: dict[str, set[int]] = {}
        for words in rules:
            lengths.setdefault(words[0], set()).add(len(words))
        # By first word, how many words a rule may begin with it, the most first.
        self._lengths = {word: sorted(known, reverse=True) for word, known in lengths.items()}

    def __len__(self) -> int:
        return len(self.rules)

    def __call__(self, text: str) -> str:
        """Rewrite a text.

        Args:
            text: words separated by whitespace.

        Returns:
            Words separated by single spaces.
        """
        words = text.split()
        if self._lengths.keys().isdisjoint(words):
            return " ".join(words)
        rewritten: list[str] = []
        position = 0
        while position < len(words):
            for length in self._lengths.get(words[position], ()):
                found = tuple(words[position : position + length])
                if found in self.rules:
                    rewritten += self.rules[found]
                    position += length
                    break
            else:
                rewritten.append(words[position])
                position += 1
        return " ".join(rewritten)


def read_equivalents(path: Path, normalize: Callable[[str], str]) -> Equivalents:
    """Read a file of rules.

    Args:
        path: the file.
        normalize: applied to both sides of every rule.

    Returns:
        What applies them.

    Raises:
        ScoringError: a line has no arrow, nothing on its left, or a left side that stands in
            another rule; or there is no rule.
    """
    rules: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, line in read_lines(path):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        left, arrow, right = line.partition(ARROW)
        words = tuple(normalize(left).split())
        if not arrow or not words:
            raise ScoringError(
                f"{path}, line {number} is '{line.strip()}'; expected a rule such as "
                "'gonna => going to', with at least one word on the left"
            )
        replacement = tuple(normalize(right).split())
        if rules.setdefault(words, replacement) != replacement:
            raise ScoringError(
                f"{path}, line {number} has a second rule for '{left.strip()}', which already "
                f"becomes '{' '.join(rules[words])}'; keep one of them"
            )
    if not rules:
        raise ScoringError(f"{path} holds no rule; expected lines such as 'gonna => going to'")
    return Equivalents(rules)
