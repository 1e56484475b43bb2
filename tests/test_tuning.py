"""Tuning: pools and surfaces against recounting, the search, the cache, temperature and offset."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from asr.decoding import greedy_decode
from asr.decoding.pruning import Pruning
from asr.decoding.rivals import settle_rivals
from asr.decoding.scorer import score_tokens
from asr.decoding.word_bonus import WordBonus
from asr.decoding.words import Word, WordCalibration
from asr.scoring.alignment import count_errors
from asr.scoring.calibration import area_under_roc
from asr.scoring.word_times import start_errors
from asr.tokenizer import CharacterTokenizer
from asr.tuning.cache import fill_cache, open_cache
from asr.tuning.confidence import (
    Judged,
    confidences,
    fit_offset,
    fit_reach,
    fit_temperature,
    judge,
)
from asr.tuning.pool import Pool
from asr.tuning.search import Task, tune
from asr.tuning.surface import ErrorSurface

LETTERS = CharacterTokenizer([" ", "A", "B", "C"])
WORDS = ("AB", "CA", "BB", "ACC")


class WordList:
    """A language model of equal words: letters that spell no word of the list cost a lot."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.highest = 0.0
        self.beginnings = {word[:size] for word in WORDS for size in range(len(word) + 1)}

    def start(self) -> str:
        return ""

    def score(self, state: str, token: int) -> tuple[float, str]:
        piece = LETTERS.pieces[token]
        if piece == " ":
            return (-1.4 if state in WORDS else -9.0) * self.weight * bool(state), ""
        known = state + piece in self.beginnings
        return (0.0 if known else -5.0) * self.weight, state + piece if known else ""

    def final(self, state: str) -> float:
        return (-1.4 if state in WORDS or not state else -9.0) * self.weight


def noisy(text: str, seed: int) -> torch.Tensor:
    """Make log-probabilities of a text, each token a frame with a blank behind, in noise."""
    draw = torch.Generator().manual_seed(seed)
    frames = [token for each in LETTERS.encode(text) for token in (each, 0)]
    logits = 3.0 * torch.nn.functional.one_hot(torch.tensor(frames), 5)
    return torch.log_softmax(logits + 1.3 * torch.randn(len(frames), 5, generator=draw), -1)


def corpus(count: int = 30) -> tuple[list[str], list[torch.Tensor]]:
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(WORDS, draw.integers(2, 6))) for _ in range(count)]
    return texts, [noisy(text, seed) for seed, text in enumerate(texts)]


def make_task() -> Task:
    texts, log_probs = corpus()
    return Task(
        log_probs=log_probs,
        references=[text.split() for text in texts],
        tokenizer=LETTERS,
        make_scorer=WordList,
        pruning=Pruning(beam_size=8),
        normalize=str,
    )


def errors_at(task: Task, lm_weight: float, bonus: float) -> int:
    search = task.search(lm_weight, bonus)
    return sum(
        count_errors(said, LETTERS.decode(search.decode(rows)[0].tokens).split()).errors
        for rows, said in zip(task.log_probs, task.references, strict=True)
    )


def test_the_search_finds_weights_that_lower_the_errors_it_reports():
    task = make_task()
    shown: list[str] = []

    def progress(rows, title):
        shown.append(title)
        return rows

    tuning = tune(task, (0.5, 0.0), progress)
    assert tuning.settled
    assert tuning.errors == errors_at(task, tuning.lm_weight, tuning.bonus)
    assert tuning.rounds[0].errors == errors_at(task, 0.0, 0.0)
    assert tuning.errors < 0.7 * tuning.rounds[0].errors
    assert tuning.lm_weight > 0
    assert tuning.words == sum(map(len, task.references))
    assert len(shown) == len(tuning.rounds) > 1
    # No other point that a coarse grid tries is clearly better.
    others = [errors_at(task, w, b) for w in (0.3, 0.6, 1.0, 1.5) for b in (-1.0, 0.0, 1.0, 2.0)]
    assert tuning.errors <= min(others) + 2


def test_weights_are_sought_with_rivals_settled():
    task = make_task()
    settled = [settle_rivals(rows, 1.5) for rows in task.log_probs]
    tuning = tune(replace(task, rivals_below=1.5), (0.5, 0.0))
    assert tuning.errors == errors_at(
        replace(task, log_probs=settled), tuning.lm_weight, tuning.bonus
    )
    assert tuning.rounds[0] != tune(task, (0.5, 0.0)).rounds[0]


def test_the_surface_counts_what_ranking_by_hand_counts():
    task = make_task()
    unit, counter = WordList(1.0), WordBonus(LETTERS, 1.0)
    pool = Pool(
        task.references,
        lambda tokens: LETTERS.decode(tokens).split(),
        lambda tokens: score_tokens(unit, tokens),
        lambda tokens: score_tokens(counter, tokens),
    )
    found = [task.search(0.0, 0.0).decode(rows, nbest=8) for rows in task.log_probs]
    news = [pool.add(row, each)[0] for row, each in enumerate(found)]
    assert sum(news) == len(pool)
    assert pool.add(0, found[0])[0] == 0
    weights, bonuses = (0.0, 0.7, 2.0), (-1.0, 0.5)
    surface = pool.surface(weights, bonuses)
    for (i, weight), (j, bonus) in itertools.product(enumerate(weights), enumerate(bonuses)):
        errors = 0
        for said, hypotheses in zip(task.references, found, strict=True):
            best = max(
                hypotheses,
                key=lambda each: (
                    each.log_prob
                    + weight * score_tokens(unit, each.tokens)
                    + bonus * score_tokens(counter, each.tokens)
                ),
            )
            errors += count_errors(said, LETTERS.decode(best.tokens).split()).errors
        assert surface.errors[i, j] == errors


def test_the_middle_of_a_low_plain_is_chosen_and_not_a_single_low_point():
    errors = np.full((7, 7), 20)
    errors[0, 0] = 3
    errors[3:6, 3:6] = 5
    axis = tuple(float(value) for value in range(7))
    surface = ErrorSurface(axis, axis, errors, 100)
    assert surface.best() == (4.0, 4.0)
    assert surface.rate(4.0, 4.0) == 0.05
    assert "5.00*" in surface.format()
    assert surface.format().count("*") == 1


# The cache


def test_cached_log_probs_are_those_computed_and_only_of_the_same_model(tmp_path):
    _, log_probs = corpus(3)
    parts = [*(rows.numpy() for rows in log_probs), np.empty((0, 5), np.float32)]
    assert open_cache(tmp_path, "mark") is None
    fill_cache(tmp_path, "mark", lambda: iter(parts))
    cache = open_cache(tmp_path, "mark")
    assert cache is not None
    assert len(cache) == 4
    for found, expected in zip(cache, parts, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.load(tmp_path / "log_probs.npy"), np.concatenate(parts))
    assert open_cache(tmp_path, "another") is None
    (tmp_path / "log_probs.npy").write_bytes((tmp_path / "log_probs.npy").read_bytes()[:-8])
    assert open_cache(tmp_path, "mark") is None


# Confidence and times


def test_the_area_counts_pairs():
    draw = np.random.default_rng(0)
    values, correct = draw.random(60).round(1).tolist(), (draw.random(60) < 0.7).tolist()
    judged = list(zip(values, correct, strict=True))
    right = [value for value, said in judged if said]
    wrong = [value for value, said in judged if not said]
    pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert area_under_roc(judged) == pytest.approx(sum(pairs) / len(pairs))
    assert area_under_roc([(0.5, True)]) is None


def judged_corpus(sharpness: float = 3.0) -> list[Judged]:
    texts, log_probs = corpus(40)
    judged = []
    for text, rows in zip(texts, log_probs, strict=True):
        sharp = torch.log_softmax(sharpness * rows, -1)
        [hypothesis] = greedy_decode(sharp[None], torch.tensor([len(sharp)]))
        judged.append(judge(sharp, hypothesis, LETTERS.decode(hypothesis.tokens), text.split()))
    return judged


def cross_entropy(pairs: list[tuple[float, bool]]) -> float:
    chances = [min(max(v if right else 1 - v, 1e-7), 1.0) for v, right in pairs]
    return -sum(map(math.log, chances)) / len(pairs)


def test_the_temperature_is_the_best_of_many():
    judged = judged_corpus()
    fitted = fit_temperature(judged, LETTERS)
    best = cross_entropy(confidences(judged, LETTERS, fitted))
    for other in (0.5, 1.0, 0.9 * fitted, 1.1 * fitted, 3.0 * fitted):
        assert best <= cross_entropy(confidences(judged, LETTERS, other)) + 1e-6
    assert fit_temperature([], LETTERS) == 1.0


def test_a_normaliser_that_changes_the_number_of_words_leaves_the_utterance_out():
    judged = judged_corpus()
    broken = Judged(judged[0].log_probs, judged[0].hypothesis, (True,) * 20)
    assert len(confidences([broken], LETTERS, 1.0)) == 0
    assert len(confidences([*judged, broken], LETTERS, 1.0)) == len(
        confidences(judged, LETTERS, 1.0)
    )


def test_the_offset_moves_the_median_start_to_the_truth():
    words = {
        "a": [Word("AB", 1.0, 1.2, 1.0), Word("CA", 2.0, 2.2, 1.0), Word("XX", 3.0, 3.1, 1.0)],
        "b": [Word("BB", 0.5, 0.9, 1.0)],
        "c": [Word("BB", 0.5, 0.9, 1.0)],
    }
    truth = {"a": [(0.9, "AB"), (1.7, "CA"), (2.5, "DD")], "b": [(0.45, "BB")]}
    errors = start_errors(words, truth).seconds
    assert errors == pytest.approx([0.1, 0.3, 0.05])
    assert fit_offset(errors) == pytest.approx(-0.1)
    assert WordCalibration(fit_offset(errors)).offset_seconds < 0


def test_the_reach_is_the_one_that_brings_starts_closest_to_the_truth():
    gaps = (0.02, 0.1, 0.3, 0.05)
    # Words that begin 0.06 s before their peaks whatever the gap, and words that begin amid it.
    assert fit_reach(lambda reach: [0.06 - min(gap / 2, reach) for gap in gaps]) == 0.0
    assert fit_reach(lambda reach: [min(gap / 2, 0.1) - min(gap / 2, reach) for gap in gaps]) == 0.1
