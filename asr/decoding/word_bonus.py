"""A bonus for every word: it makes up for what a language model takes for each of them."""

from asr.decoding.tables import BONUS_EFFECT, BonusTables, frozen
from asr.tokenizer import Tokenizer


class WordBonus:
    """Adds the same to a hypothesis for each word that it begins; a scorer.

    Args:
        tokenizer: tells which tokens begin words.
        bonus: natural logarithm; below 0 it makes texts shorter.
    """

    def __init__(self, tokenizer: Tokenizer, bonus: float) -> None:
        self.bonus = bonus
        self.pieces = tokenizer.pieces
        # For every token, with no word open before it and with one: words begun, open afterwards.
        self._effects = tuple(
            tuple(_effect(piece, open_word) for piece in tokenizer.pieces)
            for open_word in (False, True)
        )
        most = max(begun for table in self._effects for begun, _ in table)
        self.highest = max(0.0, bonus * most)

    def tables(self) -> BonusTables:
        return BonusTables(self.bonus, frozen([*map(list, self._effects)], BONUS_EFFECT))

    def start(self) -> bool:
        return False

    def score(self, state: bool, token: int) -> tuple[float, bool]:
        begun, open_word = self._effects[state][token]
        return self.bonus * begun, open_word

    def final(self, state: bool) -> float:
        return 0.0


def _effect(piece: str, open_word: bool) -> tuple[int, bool]:
    begun = 0
    for number, part in enumerate(piece.split(" ")):
        open_word = open_word and not number
        if part:
            begun += not open_word
            open_word = True
    return begun, open_word
