"""Opens language models of any kind by what their files are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.decoding.scorer import Scorer
from asr.errors import LanguageModelError
from asr.lm.arpa import read_arpa
from asr.lm.ngram import NGramModel, Units
from asr.lm.ngram_file import is_ngram_file, read_ngram, trie_of
from asr.lm.sentence import NGramSentences, SentenceModel
from asr.lm.token_scorer import TokenNGramScorer
from asr.lm.word_scorer import UNKNOWN_PENALTY, WordNGramScorer
from asr.tokenizer import Tokenizer


def load_ngram(path: Path | str) -> NGramModel:
    """Open an n-gram model: a file of ``asr lm``, or an ARPA file, which takes longer.

    An ARPA file does not say what its units are; they are taken for words.

    Raises:
        LanguageModelError: no such file, or none of a language model.
    """
    path = Path(path)
    if not path.exists():
        raise LanguageModelError(f"no language model {path}; `asr lm train` makes one from text")
    if is_ngram_file(path):
        return read_ngram(path)
    words, levels = read_arpa(path)
    return NGramModel(Units(), words, trie_of(levels))


def load_scorer(
    path: Path | str,
    tokenizer: Tokenizer,
    weight: float,
    *,
    unknown_penalty: float = UNKNOWN_PENALTY,
    known: Sequence[str] = (),
) -> Scorer[Any]:
    """Open a language model of any kind as a scorer for a beam search.

    Args:
        path: an n-gram model of words or tokens, or the folder of a GRU language model.
        tokenizer: of the acoustic model.
        weight: multiplies the model's natural logarithms.
        unknown_penalty: see ``WordNGramScorer``.
        known: words that are no worse for being unknown to a model of words, such as hotwords.

    Raises:
        LanguageModelError: no language model there, or one of other units or of another tokenizer.
        UsageError: the weight is negative.
    """
    if Path(path).is_dir():
        # Only GRUs need torch.
        from asr.lm.gru import TokenItems, load_gru
        from asr.lm.gru_scorer import TokenGRUScorer, WordGRUScorer

        saved = load_gru(path)
        if isinstance(saved.items, TokenItems):
            return TokenGRUScorer(saved, tokenizer, weight)
        return WordGRUScorer(saved, tokenizer, weight, unknown_penalty)
    model = load_ngram(path)
    if model.units.kind == "token":
        return TokenNGramScorer(model, tokenizer, weight)
    return WordNGramScorer(model, tokenizer, weight, unknown_penalty=unknown_penalty, known=known)


def load_sentence_model(path: Path | str, tokenizer: Tokenizer | None = None) -> SentenceModel:
    """Open a language model of any kind to score whole sentences.

    Args:
        path: as for ``load_scorer``.
        tokenizer: needed for models of tokens.

    Raises:
        LanguageModelError: no language model there, or one of another tokenizer.
    """
    if Path(path).is_dir():
        from asr.lm.gru import load_gru
        from asr.lm.gru_scorer import GRUSentences

        return GRUSentences(load_gru(path), tokenizer)
    return NGramSentences(load_ngram(path), tokenizer)
