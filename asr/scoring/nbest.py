"""An n-best list offers several hypotheses of an utterance; the oracle takes the best of them."""

from collections.abc import Mapping, Sequence

from asr.scoring.alignment import count_errors
from asr.scoring.score import Score, score_pairs


def oracle(references: Mapping[str, str], nbest: Mapping[str, Sequence[str]]) -> Score:
    """Score the best hypothesis of each n-best list: how low a perfect rescorer could get.

    Args:
        references: utterance id to what was said.
        nbest: utterance id to its hypotheses, the recogniser's favourite first. An utterance
            without any is scored as missing.

    Returns:
        The score of the hypotheses with the fewest word errors; of equals the first counts.

    Raises:
        ScoringError: no reference at all, or lists whose ids no reference has.
    """
    # An id without a reference travels on as it is, for `score_pairs` to name.
    best = {
        identity: _best(references.get(identity, ""), hypotheses)
        for identity, hypotheses in nbest.items()
        if hypotheses
    }
    return score_pairs(references, best)


def _best(reference: str, hypotheses: Sequence[str]) -> str:
    said = reference.split()
    return min(hypotheses, key=lambda hypothesis: count_errors(said, hypothesis.split()).errors)
