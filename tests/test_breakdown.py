"""Breakdowns, confusions and oracles against counts made by hand."""

import random

import pytest

from asr.errors import ScoringError
from asr.scoring import ErrorCounts, Score, score_pairs
from asr.scoring.breakdown import (
    break_down,
    duration_groups,
    frequency_classes,
    length_groups,
)
from asr.scoring.confusions import frequent_errors
from asr.scoring.details import Details
from asr.scoring.nbest import oracle

REFERENCES = {
    "a": "THE CAT SAT",
    "b": "A DOG",
    "c": "THE MAT",
    "d": "",
}
HYPOTHESES = {"a": "THE HAT SAT", "b": "A DOG DOG", "c": "MAT", "d": "OH"}


def test_groups_are_summed_by_name_with_numbers_by_value():
    groups = {"a": "spk10", "b": "spk2", "c": "spk10", "d": "spk2"}
    second, tenth = break_down(score_pairs(REFERENCES, HYPOTHESES), groups)
    assert (second.name, tenth.name) == ("spk2", "spk10")
    assert (second.utterances, second.sentence_errors) == (2, 2)
    assert second.words == ErrorCounts(insertions=2, correct=2)
    assert tenth.words == ErrorCounts(substitutions=1, deletions=1, correct=3)
    # THE CAT SAT -> THE HAT SAT and THE MAT -> MAT: one letter replaced, four dropped.
    assert tenth.characters == ErrorCounts(substitutions=1, deletions=4, correct=13)


def test_utterances_without_a_group_are_not_lost():
    score = score_pairs(REFERENCES, HYPOTHESES)
    groups = break_down(score, {"a": "z", "b": ""})
    assert [(group.name, group.utterances) for group in groups] == [("z", 1), ("(unknown)", 3)]
    assert sum((group.words for group in groups), ErrorCounts()) == score.words
    assert break_down(score, {}) == ()


def test_parts_sum_up_to_the_whole():
    draw = random.Random(0)
    texts = {str(i): " ".join(draw.choices("ABCDE", k=draw.randrange(70))) for i in range(200)}
    heard = {i: text.replace("A", draw.choice(["", "B", "A A"])) for i, text in texts.items()}
    score = score_pairs(texts, heard)
    for groups in (length_groups(score), {i: i[-1] for i in texts}):
        parts = break_down(score, groups)
        assert sum((part.words for part in parts), ErrorCounts()) == score.words
        assert sum((part.characters for part in parts), ErrorCounts()) == score.characters
        assert sum(part.sentence_errors for part in parts) == score.sentence_errors
        assert sum(part.utterances for part in parts) == 200


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *((0, "0 words"), (1, "1 word"), (2, "2-5 words"), (5, "2-5 words"), (6, "6-10 words")),
        *((60, "41-60 words"), (61, "61 or more words"), (10_000, "61 or more words")),
    ],
)
def test_utterances_are_grouped_by_words_of_the_reference(words, name):
    score = score_pairs({"a": "W " * words}, {"a": "W"})
    assert length_groups(score) == {"a": name}


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(0.0, "0-2 s"), (1.999, "0-2 s"), (2.0, "2-5 s"), (16.1, "15-20 s"), (4000.0, "30 s or more")],
)
def test_utterances_are_grouped_by_duration(seconds, name):
    assert duration_groups(Details(durations={"a": seconds})) == {"a": name}


def test_buckets_stand_in_the_order_of_their_size():
    score = score_pairs({str(n): "W " * n for n in (70, 0, 12, 7, 1, 50, 3)}, {})
    names = [group.name for group in break_down(score, length_groups(score))]
    assert names == [
        *("0 words", "1 word", "2-5 words", "6-10 words", "11-15 words"),
        *("41-60 words", "61 or more words"),
    ]
    durations = Details(durations={"70": 31.0, "0": 1.0, "12": 10.0, "7": 7.0})
    names = [group.name for group in break_down(score, duration_groups(durations))]
    assert names == ["0-2 s", "5-10 s", "10-15 s", "30 s or more", "(unknown)"]


def test_words_are_recognised_by_how_often_they_were_trained_on():
    training = ["THE THE THE CAT", "A A " * 5, "MAT"]
    classes = {c.name: c for c in frequency_classes(score_pairs(REFERENCES, HYPOTHESES), training)}
    assert list(classes) == ["0", "1", "2-5", "6-10", "11-100", "101-1000", "1001 or more"]
    # Never seen: SAT, DOG said; HAT, SAT, DOG, DOG and OH recognised.
    never, once, few, ten = (classes[name] for name in ("0", "1", "2-5", "6-10"))
    assert (never.words, never.recognized, never.correct) == (2, 5, 2)
    assert (never.recall, never.precision) == (1, 0.4)
    # Once: CAT and MAT said, MAT recognised.
    assert (once.words, once.recognized, once.correct) == (2, 1, 1)
    assert (few.words, few.recognized, few.correct) == (2, 1, 1)
    assert (ten.recall, ten.precision) == (1, 1)
    assert (classes["11-100"].words, classes["11-100"].recall) == (0, 0)


def test_frequency_classes_hold_every_word():
    score = score_pairs(REFERENCES, HYPOTHESES)
    classes = frequency_classes(score, [])
    assert sum(c.words for c in classes) == score.words.words == 7
    assert sum(c.correct for c in classes) == score.words.correct
    assert sum(c.recognized for c in classes) == sum(len(h.split()) for h in HYPOTHESES.values())


def test_errors_are_listed_by_how_often_they_occur():
    references = {"a": "IN THE END", "b": "IN A HOUSE", "c": "IN AND OUT", "d": "A B"}
    hypotheses = {"a": "AND THE END", "b": "AND HOUSE", "c": "AND OUT", "d": "A B UH UH"}
    errors = frequent_errors(score_pairs(references, hypotheses))
    assert errors.substitutions == (("IN", "AND", 2),)
    assert errors.deletions == (("A", 1), ("IN", 1))
    assert errors.insertions == (("UH", 2),)


def test_equally_frequent_errors_stand_in_alphabetical_order():
    references = {str(place): word for place, word in enumerate("DCBA")}
    score = score_pairs(references, dict.fromkeys(references, "X"))
    two = frequent_errors(score, most=2)
    assert two.substitutions == (("A", "X", 1), ("B", "X", 1))
    assert frequent_errors(Score(())).deletions == ()


def test_the_oracle_takes_the_best_hypothesis_of_each_list():
    references = {"a": "THE CAT SAT", "b": "A DOG", "c": "MAT"}
    nbest = {
        "a": ["THE HAT SAD", "THE HAT SAT", "THE SAT", "CAT"],
        "b": ["A DOG", "A FOG"],
        "c": [],
    }
    score = oracle(references, nbest)
    assert [utterance.hypothesis for utterance in score.utterances] == ["THE HAT SAT", "A DOG", ""]
    assert score.words == ErrorCounts(substitutions=1, deletions=1, correct=4)
    assert score.missing == ("c",)


def test_the_oracle_never_does_worse_than_any_choice():
    draw = random.Random(1)
    references = {str(i): " ".join(draw.choices("ABC", k=6)) for i in range(50)}
    nbest = {i: [" ".join(draw.choices("ABC", k=6)) for _ in range(5)] for i in references}
    best = oracle(references, nbest)
    for rank in range(5):
        one = score_pairs(references, {i: texts[rank] for i, texts in nbest.items()})
        for ours, theirs in zip(best.utterances, one.utterances, strict=True):
            assert ours.words.errors <= theirs.words.errors


def test_lists_of_unknown_utterances_are_refused():
    with pytest.raises(ScoringError, match="no reference has: x"):
        oracle({"a": "A"}, {"x": ["A"]})
