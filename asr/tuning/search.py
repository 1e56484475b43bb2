"""The search for weights: decode, pool, choose, and decode again until nothing new turns up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from asr.decoding.options import DecoderOptions
from asr.decoding.pruning import Pruning
from asr.decoding.rivals import settle_rivals
from asr.decoding.scorer import Scorer, score_tokens
from asr.decoding.search import Search, make_search
from asr.decoding.word_bonus import WordBonus
from asr.encoding import LogProbs
from asr.tokenizer import Tokenizer
from asr.tuning.pool import Pool
from asr.tuning.surface import ErrorSurface

MOST_ROUNDS = 10
LM_WEIGHTS = tuple(round(float(value), 2) for value in np.arange(0, 2.001, 0.05))
BONUSES = tuple(round(float(value), 2) for value in np.arange(-2, 4.001, 0.1))


@dataclass(frozen=True)
class Round:
    """All utterances decoded once.

    Attributes:
        lm_weight: with this weight.
        bonus: and this insertion bonus.
        errors: word errors of the best hypotheses.
        new: hypotheses that no earlier round had found.
    """

    lm_weight: float
    bonus: float
    errors: int
    new: int


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        lm_weight: the weight with the fewest errors, of those that were decoded with.
        bonus: the insertion bonus beside it.
        errors: word errors of a decoding with these.
        words: reference words.
        rounds: every decoding, in order; the first is without a language model.
        surface: errors over the grid, from all hypotheses together.
        settled: whether the last round found nothing new.
    """

    lm_weight: float
    bonus: float
    errors: int
    words: int
    rounds: tuple[Round, ...]
    surface: ErrorSurface
    settled: bool

    def applied(self, options: DecoderOptions) -> DecoderOptions:
        """Give options with the weights that were found."""
        return replace(options, lm_weight=self.lm_weight, insertion_bonus=self.bonus)


@dataclass(frozen=True)
class Task:
    """What is decoded and how.

    Attributes:
        log_probs: ``(U, V)`` of each utterance.
        references: the words of each, normalised.
        tokenizer: of the model.
        make_scorer: gives the language model as a scorer of a given weight.
        pruning: of every search.
        normalize: applied to hypotheses before they are scored.
        others: further scorers whose weights stay as they are.
        rivals_below: see ``settle_rivals``.
    """

    log_probs: Sequence[LogProbs]
    references: Sequence[Sequence[str]]
    tokenizer: Tokenizer
    make_scorer: Callable[[float], Scorer[Any]]
    pruning: Pruning
    normalize: Callable[[str], str]
    others: Sequence[Scorer[Any]] = ()
    rivals_below: float = 0.0

    def search(self, lm_weight: float, bonus: float) -> Search[Any]:
        """Give the beam search of these weights."""
        scorers = list(self.others)
        if lm_weight > 0:
            scorers.append(self.make_scorer(lm_weight))
        if bonus:
            scorers.append(WordBonus(self.tokenizer, bonus))
        return make_search(self.pruning, scorers)


def tune(
    task: Task,
    first: tuple[float, float],
    progress: Callable[[Iterator[int], str], Iterator[int]] = lambda rows, _: rows,
) -> Tuning:
    """Find the LM weight and the insertion bonus with the fewest word errors.

    Every round decodes with the best weights so far and adds what it finds to a pool of
    hypotheses; from the pool the errors at all weights of a grid are counted. The search ends when
    a round finds nothing new, since other weights could then not do better either.

    Args:
        task: what is decoded and how.
        first: LM weight and insertion bonus to begin with.
        progress: wraps the rows of a round, named by the second argument, to show how far it is.

    Source:
        Macherey et al. 2008, "Lattice-based minimum error rate training for statistical machine
        translation", section 2: n-best lists are merged until they no longer grow.
    """
    unit = task.make_scorer(1.0)
    counter = WordBonus(task.tokenizer, 1.0)
    pool = Pool(
        task.references,
        words=lambda tokens: task.normalize(task.tokenizer.decode(tokens)).split(),
        lm_score=lambda tokens: score_tokens(unit, tokens),
        word_count=lambda tokens: score_tokens(counter, tokens),
    )
    rounds: list[Round] = []
    surface = pool.surface(LM_WEIGHTS, BONUSES)
    point, settled = (0.0, 0.0), False
    while len(rounds) < MOST_ROUNDS:
        rounds.append(_decode(task, pool, point, progress, len(rounds) + 1))
        surface = pool.surface(LM_WEIGHTS, BONUSES)
        settled = len(rounds) > 1 and rounds[-1].new == 0
        done = {(each.lm_weight, each.bonus) for each in rounds}
        point = first if len(rounds) == 1 else surface.best()
        if settled or point in done:
            settled = True
            break
    # Without a language model there is nothing to tune.
    best = min(rounds[1:] or rounds, key=lambda each: each.errors)
    words = surface.words
    return Tuning(best.lm_weight, best.bonus, best.errors, words, tuple(rounds), surface, settled)


def _decode(
    task: Task,
    pool: Pool,
    point: tuple[float, float],
    progress: Callable[[Iterator[int], str], Iterator[int]],
    number: int,
) -> Round:
    search = task.search(*point)
    new = errors = 0
    for row in progress(iter(range(len(task.log_probs))), f"decoding, round {number}"):
        # Offer the pool all that the beam holds.
        log_probs = settle_rivals(task.log_probs[row], task.rivals_below)
        found = search.decode(log_probs, nbest=task.pruning.beam_size)
        more, wrong = pool.add(row, found)
        new += more
        errors += wrong
    return Round(*point, errors, new)


def format_tuning(tuning: Tuning) -> str:
    """Write the rounds, the surface and the weights that were found.

    Args:
        tuning: what to write.
    """
    words = max(1, tuning.words)
    lines = [
        f"round {number}: LM weight {each.lm_weight:g}, bonus {each.bonus:g}: "
        f"{100 * each.errors / words:.2f} % WER, {each.new} new hypotheses"
        for number, each in enumerate(tuning.rounds, start=1)
    ]
    lines += ["", tuning.surface.format(), ""]
    without = tuning.rounds[0].errors
    lines.append(
        f"lm_weight {tuning.lm_weight:g}, insertion_bonus {tuning.bonus:g}: "
        f"{100 * tuning.errors / words:.2f} % WER, without a language model "
        f"{100 * without / words:.2f} %"
    )
    if not tuning.settled:
        lines.append(f"after {MOST_ROUNDS} rounds the pool of hypotheses still grew")
    return "\n".join(lines)


def figures(tuning: Tuning) -> dict[str, Any]:
    """Give all that was found as plain values.

    Args:
        tuning: what to give.
    """
    surface = tuning.surface
    return {
        "lm_weight": tuning.lm_weight,
        "insertion_bonus": tuning.bonus,
        "errors": tuning.errors,
        "words": tuning.words,
        "settled": tuning.settled,
        "rounds": [asdict(each) for each in tuning.rounds],
        "surface": {
            "lm_weights": list(surface.lm_weights),
            "insertion_bonuses": list(surface.bonuses),
            "errors": surface.errors.tolist(),
        },
    }
