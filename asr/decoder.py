"""A decoder is built from options, a language model and phrases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.decoding.decoder import BeamDecoder, Decoder, GreedyDecoder
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.decoding.rivals import settling
from asr.decoding.scorer import Scorer
from asr.decoding.search import can_compile, make_search
from asr.decoding.word_bonus import WordBonus
from asr.errors import UsageError
from asr.tokenizer import Tokenizer

# Greedy decoding, which most do, need not wait for the import of language models.
if TYPE_CHECKING:
    from asr.lm.hotwords import Phrase
    from asr.lm.sentence import SentenceModel


@dataclass(frozen=True)
class Knowledge:
    """What a beam search knows beside the sound.

    Attributes:
        lm: a language model's file or folder, for the search itself.
        hotwords: phrases that are preferred.
        rescoring_lm: another language model, which ranks the hypotheses that the search has found.
    """

    lm: Path | str | None = None
    hotwords: "tuple[Phrase, ...]" = ()
    rescoring_lm: Path | str | None = None

    def __bool__(self) -> bool:
        return bool(self.lm or self.hotwords or self.rescoring_lm)


NOTHING = Knowledge()


def build_decoder(
    tokenizer: Tokenizer,
    options: DecoderOptions = DEFAULT_OPTIONS,
    knowledge: Knowledge = NOTHING,
    *,
    nbest: int = 1,
    search: str = "auto",
    device: str = "cpu",
) -> Decoder:
    """Build the decoder that options ask for.

    It is greedy unless the options say ``beam``, or there is a language model, phrases, or a wish
    for several hypotheses, none of which greedy search can serve.

    Args:
        tokenizer: of the acoustic model.
        options: how to search, and weights.
        knowledge: language models and phrases.
        nbest: how many hypotheses to give.
        search: how a beam search runs, with the same results: ``"compiled"``, ``"plain"``,
            ``"batched"``, or ``"auto"``: compiled where that is possible, else batched on a GPU.
        device: where log-probabilities are computed; a batched search runs there too.

    Raises:
        LanguageModelError: no language model there, or one of other units.
        UsageError: ``nbest`` is below 1 or above the beam size, or a phrase has a character that
            the tokenizer lacks.
    """
    if not 1 <= nbest <= options.beam_size:
        raise UsageError(
            f"{nbest} hypotheses are asked for; expected 1 up to the beam size, {options.beam_size}"
        )
    if options.kind == "greedy" and not knowledge and nbest == 1:
        return settling(GreedyDecoder(), options.rivals_below)
    rescorers = []
    if knowledge.rescoring_lm:
        from asr.lm.loading import load_sentence_model

        model = load_sentence_model(knowledge.rescoring_lm, tokenizer)
        rescorers.append(sentence_rescorer(model, tokenizer, options.rescoring_weight))
    scorers = _scorers(tokenizer, options, knowledge)
    if search == "auto" and device.startswith("cuda") and not can_compile():
        search = "batched"
    kept: dict[str, Any] = {
        "nbest": nbest,
        "rescorers": rescorers,
        "name": _name(options, knowledge),
    }
    found: Decoder
    if search == "batched":
        from asr.decoding.decoder_batch import BatchBeamDecoder

        found = BatchBeamDecoder(options.pruning, scorers, device, **kept)
    else:
        found = BeamDecoder(make_search(options.pruning, scorers, search), **kept)
    return settling(found, options.rivals_below)


def sentence_rescorer(
    model: "SentenceModel", tokenizer: Tokenizer, weight: float
) -> Callable[[Sequence[Hypothesis]], list[float]]:
    """Make a rescorer of a language model of whole sentences.

    Args:
        model: n-gram or GRU.
        tokenizer: turns tokens into the sentences.
        weight: multiplies the model's natural logarithms.
    """

    from asr.lm.word_scorer import UNKNOWN_PENALTY

    def score(hypotheses: Sequence[Hypothesis]) -> list[float]:
        texts = [tokenizer.decode(each.tokens) for each in hypotheses]
        return [
            weight * (found.log_prob + UNKNOWN_PENALTY * len(found.unknown))
            for found in model.score_sentences(texts)
        ]

    return score


def _scorers(
    tokenizer: Tokenizer, options: DecoderOptions, knowledge: Knowledge
) -> Sequence[Scorer[Any]]:
    scorers: list[Scorer[Any]] = []
    if knowledge.lm:
        from asr.lm.loading import load_scorer

        # What a user says may be said costs nothing for being unknown to the language model.
        known = [word for phrase in knowledge.hotwords for word in phrase.text.split()]
        scorers.append(load_scorer(knowledge.lm, tokenizer, options.lm_weight, known=known))
    if (knowledge.lm or knowledge.rescoring_lm) and options.insertion_bonus:
        scorers.append(WordBonus(tokenizer, options.insertion_bonus))
    if knowledge.hotwords:
        from asr.lm.hotwords import HotwordScorer

        scorers.append(HotwordScorer(knowledge.hotwords, tokenizer))
    return scorers


def _name(options: DecoderOptions, knowledge: Knowledge) -> str:
    parts = [f"beam {options.beam_size}"]
    if knowledge.lm:
        parts.append(f"lm {Path(knowledge.lm).name} * {options.lm_weight:g}")
    if knowledge.rescoring_lm:
        rescoring = Path(knowledge.rescoring_lm).name
        parts.append(f"rescored by {rescoring} * {options.rescoring_weight:g}")
    if (knowledge.lm or knowledge.rescoring_lm) and options.insertion_bonus:
        parts.append(f"bonus {options.insertion_bonus:g}")
    if knowledge.hotwords:
        parts.append(f"{len(knowledge.hotwords)} hotwords")
    return ", ".join(parts)
