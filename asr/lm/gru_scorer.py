"""Scorers that ask a GRU language model, and whole sentences under one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr.errors import LanguageModelError
from asr.lm.gru import BOUNDARY, UNKNOWN_WORD, SavedGRU, TokenItems, WordItems
from asr.lm.sentence import SentenceScore
from asr.lm.token_scorer import check_weight
from asr.lm.tokens import fingerprint
from asr.lm.workspace import Array
from asr.tokenizer import Tokenizer


class GRUState:
    """A place in a text: equal to all others that the same items lead to.

    What the model says of it is computed when it is first asked for.
    """

    __slots__ = ("children", "code", "hidden", "items", "parent", "row")

    def __init__(self, parent: "GRUState | None", item: int) -> None:
        self.parent = parent
        self.items: tuple[int, ...] = (*parent.items, item) if parent else ()
        self.code: int = hash((parent.code, item)) if parent else 0
        self.children: dict[int, GRUState] = {}
        self.hidden: Tensor | None = None
        self.row: Array | None = None

    def __hash__(self) -> int:
        return self.code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GRUState) and self.items == other.items

    def child(self, item: int) -> "GRUState":
        """Give the state one item on."""
        found = self.children.get(item)
        if found is None:
            found = self.children[item] = GRUState(self, item)
        return found


class GRUPredictor:
    """Computes what follows a text, once for each beginning.

    Args:
        saved: the language model.
    """

    def __init__(self, saved: SavedGRU) -> None:
        self.model = saved.model.eval()
        self.device = next(saved.model.parameters()).device

    @torch.inference_mode()
    def row(self, state: GRUState) -> Array:
        """Give the natural log-probabilities of all items after a state (V,) float32."""
        if state.row is None:
            hidden = None
            if state.parent is not None:
                self.row(state.parent)
                hidden = state.parent.hidden
            item = state.items[-1] if state.items else BOUNDARY
            rows, state.hidden = self.model(torch.tensor([[item]], device=self.device), hidden)
            state.row = rows[0, 0].cpu().numpy()
        return state.row


class TokenGRUScorer:
    """Scores every token by a GRU language model of tokens.

    Args:
        saved: counts the tokenizer's tokens.
        tokenizer: of the acoustic model.
        weight: multiplies the model's natural logarithms.

    Raises:
        LanguageModelError: the model counts words, or the tokens of another tokenizer.
        UsageError: the weight is negative.
    """

    def __init__(self, saved: SavedGRU, tokenizer: Tokenizer, weight: float = 1.0) -> None:
        check_weight(weight)
        if not isinstance(saved.items, TokenItems):
            raise LanguageModelError("the GRU language model is one of words; expected tokens")
        own, expected = fingerprint(saved.items.tokenizer), fingerprint(tokenizer)
        if own != expected:
            raise LanguageModelError(
                f"the GRU language model counts the tokens of another tokenizer (fingerprint {own})"
                f" than this model's ({expected}); train it with -m MODEL on this model"
            )
        self.predictor = GRUPredictor(saved)
        self.weight = weight
        self.highest = 0.0

    def start(self) -> GRUState:
        return GRUState(None, BOUNDARY)

    def score(self, state: GRUState, token: int) -> tuple[float, GRUState]:
        return self.weight * float(self.predictor.row(state)[token]), state.child(token)

    def final(self, state: GRUState) -> float:
        return self.weight * float(self.predictor.row(state)[BOUNDARY])


class WordGRUScorer:
    """Scores words by a GRU language model of words when they end; made for n-best lists.

    A state is the place in the text and the letters of the word that is being spelled.

    Args:
        saved: counts words.
        tokenizer: of the acoustic model.
        weight: multiplies the model's natural logarithms.
        unknown_penalty: natural logarithm, 0 or less, that is added, before weighting, for every
            word that the model lacks.

    Raises:
        UsageError: the weight is negative.
    """

    def __init__(
        self, saved: SavedGRU, tokenizer: Tokenizer, weight: float, unknown_penalty: float
    ) -> None:
        check_weight(weight)
        assert isinstance(saved.items, WordItems)
        self.words = saved.items
        self.predictor = GRUPredictor(saved)
        self.weight = weight
        self.penalty = min(0.0, unknown_penalty)
        self.highest = 0.0
        self._pieces = tokenizer.pieces

    def start(self) -> tuple[GRUState, str]:
        return GRUState(None, BOUNDARY), ""

    def score(self, state: tuple[GRUState, str], token: int) -> tuple[float, tuple[GRUState, str]]:
        place, word = state
        total = 0.0
        for number, part in enumerate(self._pieces[token].split(" ")):
            if number:
                score, place = self._end_word(place, word)
                total, word = total + score, ""
            word += part
        return total, (place, word)

    def final(self, state: tuple[GRUState, str]) -> float:
        total, place = self._end_word(*state)
        return total + self.weight * float(self.predictor.row(place)[BOUNDARY])

    def _end_word(self, place: GRUState, word: str) -> tuple[float, GRUState]:
        if not word:
            return 0.0, place
        item = self.words.word_id(word)
        penalty = self.penalty if item == UNKNOWN_WORD else 0.0
        score = self.weight * (float(self.predictor.row(place)[item]) + penalty)
        return score, place.child(item)


class GRUSentences:
    """Scores sentences with a GRU language model, many at once.

    Args:
        saved: of words or tokens.
        tokenizer: of the acoustic model; None: the language model's own.

    Raises:
        LanguageModelError: the model counts the tokens of another tokenizer.
    """

    def __init__(self, saved: SavedGRU, tokenizer: Tokenizer | None = None) -> None:
        self.saved = saved
        self.unit = saved.items.unit
        if tokenizer and isinstance(saved.items, TokenItems):
            TokenGRUScorer(saved, tokenizer)

    @torch.inference_mode()
    def score_sentences(self, texts: Sequence[str]) -> list[SentenceScore]:
        """Score sentences, each of words separated by single spaces."""
        encoded = [self.saved.items.encode(text) for text in texts]
        longest = max(len(ids) for ids, _ in encoded)
        inputs = torch.full((len(texts), longest + 1), BOUNDARY)
        for row, (ids, _) in enumerate(encoded):
            inputs[row, 1 : 1 + len(ids)] = torch.tensor(ids, dtype=torch.int64)
        device = next(self.saved.model.parameters()).device
        log_probs, _ = self.saved.model.eval()(inputs.to(device))
        targets = torch.nn.functional.pad(inputs[:, 1:], (0, 1), value=BOUNDARY).to(device)
        chosen = log_probs.gather(2, targets.unsqueeze(2)).squeeze(2).double().cpu().numpy()
        scores = []
        for row, (ids, unknown) in enumerate(encoded):
            own = chosen[row, : len(ids) + 1]
            share = 0.0
            if unknown:
                share = float(own[:-1][np.array(ids) == UNKNOWN_WORD].sum())
            scores.append(SentenceScore(float(own.sum()), len(own), tuple(unknown), share))
        return scores
