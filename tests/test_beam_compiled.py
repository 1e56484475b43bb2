"""The compiled beam search finds what the plain one finds, with all scorers that have tables."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from lm_texts import SENTENCES, small_model, small_tokenizers

from asr.decoding.align import align_hypothesis as plain_align
from asr.decoding.beam import BeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import NO_PRUNING, Pruning
from asr.decoding.scorer import score_tokens
from asr.decoding.search import make_search
from asr.decoding.tables import join_tables
from asr.decoding.word_bonus import WordBonus
from asr.lm.hotwords import HotwordScorer, Phrase
from asr.lm.lexicon import NONE, Lexicon
from asr.lm.lexicon_tables import lexicon_tables
from asr.lm.token_scorer import TokenNGramScorer
from asr.lm.word_scorer import WordNGramScorer
from asr.tokenizer import Tokenizer

pytest.importorskip("numba")
from asr.decoding.compiled import beam
from asr.decoding.compiled.align import align_hypothesis
from asr.decoding.compiled.beam import CompiledBeamSearch
from asr.decoding.compiled.ngram import make_memory

TOKENIZERS = small_tokenizers()
PRUNINGS = [
    Pruning(),
    Pruning(beam_size=1),
    Pruning(beam_size=5, token_threshold=12.0, beam_threshold=4.0, blank_threshold=0.9),
    Pruning(beam_size=50, token_threshold=30.0, beam_threshold=math.inf, blank_threshold=1.0),
]


def speak(tokenizer: Tokenizer, seed: int) -> torch.Tensor:
    """Make frames (U, V) of a sentence as CTC has them, with doubts and many sure blanks."""
    rng = np.random.default_rng(seed)
    tokens = tokenizer.encode(SENTENCES[seed % len(SENTENCES)])
    logits = 2 * rng.standard_normal((4 * len(tokens), tokenizer.vocabulary_size))
    logits[:, 0] += 9
    logits[np.arange(len(tokens)) * 4 + 1, tokens] += 10
    return torch.from_numpy(logits.astype(np.float32)).log_softmax(-1)


def make_scorers(name: str, kind: str, folder) -> list:
    tokenizer = TOKENIZERS[kind]
    words = WordNGramScorer(
        small_model(folder), tokenizer, 0.6, unknown_penalty=-2.0, known=["DOGMA", "MATT"]
    )
    plain = WordNGramScorer(small_model(folder), tokenizer, 0.6, look_ahead=False)
    tokens = TokenNGramScorer(small_model(folder, tokenizer), tokenizer, 0.4)
    phrases = [Phrase("DOGMA", 0.7), Phrase("THE MAT"), Phrase("MATT", 0.3), Phrase("A")]
    hotwords, bonus = HotwordScorer(phrases, tokenizer), WordBonus(tokenizer, 0.8)
    return {
        "none": [],
        "words": [words],
        "without look-ahead": [plain],
        "tokens": [tokens],
        "hotwords": [hotwords],
        "all": [words, bonus, hotwords],
    }[name]


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    assert [each.frames for each in found] == [each.frames for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-9)
        assert one.scorer_score == pytest.approx(other.scorer_score, abs=1e-9)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    "name", ["none", "words", "without look-ahead", "tokens", "hotwords", "all"]
)
def test_it_is_the_plain_search_whole_and_in_chunks(tmp_path, monkeypatch, kind, name):
    # So little room that it is made larger, and old prefixes forgotten, again and again.
    monkeypatch.setattr(beam, "_ROOM", 4)
    scorers = make_scorers(name, kind, tmp_path)
    for pruning in PRUNINGS:
        compiled, plain = make_search(pruning, scorers), BeamSearch(pruning, scorers)
        assert isinstance(compiled, CompiledBeamSearch)
        for seed in range(4):
            log_probs = speak(TOKENIZERS[kind], seed)
            expected = plain.decode(log_probs, nbest=8)
            assert_same(compiled.decode(log_probs, nbest=8), expected)
            state = compiled.start()
            for start in range(0, len(log_probs), 3):
                compiled.step(state, log_probs[start : start + 3])
            assert_same(compiled.finish(state, nbest=8), expected)
            assert compiled.best(state) == plain.best(_searched(plain, log_probs))
            for each in expected:
                scored = sum(score_tokens(scorer, each.tokens) for scorer in scorers)
                assert each.scorer_score == pytest.approx(scored, abs=1e-9)


def _searched(search: BeamSearch, log_probs: torch.Tensor):
    state = search.start()
    search.step(state, log_probs)
    return state


def test_a_full_memory_changes_nothing(tmp_path):
    scorers = make_scorers("all", "characters", tmp_path)
    search = make_search(Pruning(token_threshold=20.0), scorers)
    memory = make_memory(40, slots=16)
    search._scoring = search._scoring._replace(memory=memory)
    for seed in range(4):
        log_probs = speak(TOKENIZERS["characters"], seed)
        expected = BeamSearch(Pruning(token_threshold=20.0), scorers).decode(log_probs, nbest=8)
        assert_same(search.decode(log_probs, nbest=8), expected)
    assert 0 < memory.used[0] <= 16


def test_a_long_utterance_neither_underflows_nor_fills_memory():
    draw = torch.Generator().manual_seed(0)
    log_probs = (0.5 * torch.randn(3000, 6, generator=draw)).log_softmax(-1)
    pruning = Pruning(beam_size=4)
    search = make_search(pruning)
    state = search.start()
    search.step(state, log_probs)
    assert_same(search.finish(state, 4), BeamSearch(pruning).decode(log_probs, 4))
    assert len(state.beam.prefixes) < 10_000


def test_no_frames_no_numbers_and_no_hope(tmp_path):
    search = make_search()
    assert search.decode(torch.empty(0, 5)) == [Hypothesis((), (), 0.0)]
    with pytest.raises(ValueError, match="NaN"):
        search.decode(torch.full((3, 4), math.nan))
    log_probs = torch.full((3, 4), -math.inf)
    assert search.decode(log_probs) == [Hypothesis((), (), -math.inf)]
    # Other widths and types of numbers than the first time.
    wide = torch.randn(20, 9, dtype=torch.float64).log_softmax(-1)
    assert_same(search.decode(wide), BeamSearch().decode(wide))
    assert_same(search.decode(wide.T.contiguous().T), BeamSearch().decode(wide))


def test_alignments_are_those_of_the_plain_walk():
    rng = np.random.default_rng(3)
    for case in range(60):
        log_probs = np.round(rng.standard_normal((int(rng.integers(0, 25)), 5)), 1)
        if case % 2:
            log_probs = log_probs.astype(np.float32)
        log_probs[rng.random(log_probs.shape) < 0.05] = -np.inf
        tokens = tuple(rng.integers(1, 5, rng.integers(0, 12)).tolist())
        given = Hypothesis(tokens, tuple(range(len(tokens))), -1.0)
        assert align_hypothesis(log_probs, given) == plain_align(log_probs, given)


def test_a_lexicon_of_arrays_is_the_one_that_is_never_built():
    words = sorted({"A", "AN", "AND", "ANT", "BE", "BEE", "É", "日本", "日本語", "BEES", "ZZZZ"})
    ids = np.arange(3, 3 + len(words))
    ids[[2, 4]] = 0
    unigrams = -np.arange(1.0, 1 + len(words))
    unigrams[[2, 4]] = -np.inf
    lexicon = Lexicon(words)
    nodes = lexicon_tables(words, unigrams, ids, np.arange(20)).nodes
    waiting = [(0, 0)]
    seen = 0
    while waiting:
        node, place = waiting.pop()
        seen += 1
        low, high = lexicon.low[node], lexicon.high[node]
        assert (nodes[place]["low"], nodes[place]["high"]) == (low, high)
        assert nodes[place]["best"] == max(unigrams[low:high])
        assert nodes[place]["named"] == (0 in ids[low:high])
        word = lexicon.word(node) if node else NONE
        assert nodes[place]["word"] == (NONE if word == NONE else ids[word])
        children = range(nodes[place]["first_child"], nodes[place + 1]["first_child"])
        letters = [chr(nodes[child]["letter"]) for child in children]
        assert letters == sorted(letters)
        depth = len(lexicon._texts[node])
        assert letters == sorted({w[depth] for w in words[low:high] if len(w) > depth})
        waiting += [
            (lexicon.child(node, letter), child)
            for letter, child in zip(letters, children, strict=True)
        ]
    assert seen == len(nodes) - 1
    assert len(lexicon_tables([], np.empty(0), np.empty(0, int), np.arange(3)).nodes) == 2


def test_scorers_without_tables_are_searched_plainly(tmp_path):
    class Stranger:
        highest = 0.0

    assert join_tables([Stranger()]) is None
    [words] = make_scorers("words", "characters", tmp_path)
    assert join_tables([words, words]) is None
    assert isinstance(make_search(scorers=[words, words]), BeamSearch)
    # The compiled one ranks by insertion, which suits beams that somebody waits for.
    assert isinstance(make_search(NO_PRUNING), BeamSearch)


def test_without_numba_the_search_is_the_plain_one():
    script = (
        "import sys; sys.modules['numba'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'numba' else find(name)\n"
        "from asr.decoding.search import make_search\n"
        "print(type(make_search()).__name__)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "BeamSearch", result.stderr
