"""Scoring against hand counts, a brute-force dynamic programme, and jiwer."""

import math
import random
import time

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring import (
    ErrorCounts,
    Score,
    align,
    count_errors,
    cross_check,
    format_alignment,
    format_counts,
    format_summary,
    score_pairs,
)
from asr.scoring.alignment import have_own_hashes

WORDS = ["A", "THE", "CAT", "SAT", "ON", "MAT", "L'ÉTÉ", "東京", "o", "ﬁ", "🙂"]
sentences = st.lists(st.sampled_from(WORDS), max_size=12)
any_text = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n\u3000\u00a0"), max_size=30
)


def edit_distance(reference, hypothesis):
    """The dynamic programme of Wagner and Fischer (1974), cell by cell."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=np.int64)
    table[:, 0] = np.arange(len(reference) + 1)
    table[0, :] = np.arange(len(hypothesis) + 1)
    for i, said in enumerate(reference, start=1):
        for j, recognised in enumerate(hypothesis, start=1):
            substituted = table[i - 1, j - 1] + (said != recognised)
            table[i, j] = min(substituted, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return int(table[-1, -1])


def random_pairs(number, seed):
    """Sentences and damaged copies of them, empty sides and repeated words among them."""
    draw = random.Random(seed)
    for _ in range(number):
        reference = draw.choices(WORDS, k=draw.choice([0, 1, 2, 5, 15]))
        hypothesis = []
        for word in reference:
            chance = draw.random()
            if chance < 0.7:
                hypothesis.append(word)
            elif chance < 0.85:
                hypothesis += draw.choices(WORDS, k=draw.randint(1, 3))
        if not reference or draw.random() < 0.1:
            hypothesis = draw.choices(WORDS, k=draw.randint(0, 4))
        yield reference, hypothesis


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorCounts()),
        ("A", "A", ErrorCounts(correct=1)),
        ("A", "B", ErrorCounts(substitutions=1)),
        ("A", "", ErrorCounts(deletions=1)),
        ("", "A", ErrorCounts(insertions=1)),
        ("THE CAT SAT", "THE CAT", ErrorCounts(deletions=1, correct=2)),
        ("THE CAT", "THE BIG CAT", ErrorCounts(insertions=1, correct=2)),
        ("THE THE THE", "THE", ErrorCounts(deletions=2, correct=1)),
        ("A B C D", "A X C D E", ErrorCounts(substitutions=1, insertions=1, correct=3)),
        ("A B C", "X Y Z W", ErrorCounts(substitutions=3, insertions=1)),
        ("the cat", "THE CAT", ErrorCounts(substitutions=2)),
    ],
)
def test_counts_are_those_made_by_hand(reference, hypothesis, expected):
    assert count_errors(reference.split(), hypothesis.split()) == expected


def test_an_alignment_names_what_became_of_each_word():
    assert align(["THE", "CAT", "SAT", "ON"], ["BIG", "THE", "RAT", "SAT"]).operations == (
        ("I", None, "BIG"),
        ("C", "THE", "THE"),
        ("S", "CAT", "RAT"),
        ("C", "SAT", "SAT"),
        ("D", "ON", None),
    )


def test_words_are_compared_by_value_and_not_by_hash():
    class SameHash(str):
        def __hash__(self):
            return 7

    words = [SameHash("ONE"), SameHash("TWO")]
    assert count_errors(words, words[::-1]).errors == 2


def test_a_score_does_without_hashes_where_two_words_share_one(monkeypatch):
    pairs = [(" ".join(said), " ".join(heard)) for said, heard in random_pairs(200, seed=6)]
    references, hypotheses = (dict(enumerate_ids(side)) for side in zip(*pairs, strict=True))
    fast = score_pairs(references, hypotheses)
    monkeypatch.setattr("asr.scoring.score.have_own_hashes", lambda words: False)
    assert score_pairs(references, hypotheses) == fast


def test_shared_hashes_are_found():
    class SameHash(str):
        def __hash__(self):
            return ord("A")

    assert have_own_hashes({"A", "ONE", "TWO"})
    assert not have_own_hashes({"A", SameHash("ONE")})


def test_rates_are_not_clamped():
    assert count_errors(["A"], ["B", "C", "D"]).rate == 3.0


def test_an_empty_reference_has_an_infinite_rate_unless_nothing_was_inserted():
    assert count_errors([], ["A"]).rate == math.inf
    assert count_errors([], []).rate == 0.0


def test_a_corpus_rate_is_summed_errors_over_summed_words():
    total = sum([count_errors([], ["A"]), count_errors(["A"] * 9, ["A"] * 9)], ErrorCounts())
    assert total == ErrorCounts(insertions=1, correct=9)
    assert total.rate == pytest.approx(1 / 9)


def test_counts_add_only_to_counts():
    with pytest.raises(TypeError):
        ErrorCounts() + 1


def test_errors_are_the_brute_force_edit_distance():
    for reference, hypothesis in random_pairs(400, seed=1):
        counts = count_errors(reference, hypothesis)
        assert counts.errors == edit_distance(reference, hypothesis)
        assert counts.words == len(reference)
        assert counts.correct + counts.substitutions + counts.insertions == len(hypothesis)


def test_characters_of_plain_strings_are_the_brute_force_edit_distance():
    for reference, hypothesis in random_pairs(60, seed=2):
        pair = " ".join(reference), " ".join(hypothesis)
        assert count_errors(*pair).errors == edit_distance(*pair)


def test_every_alignment_rebuilds_both_sides_and_counts_as_count_errors_does():
    for reference, hypothesis in random_pairs(400, seed=3):
        alignment = align(reference, hypothesis)
        rebuilt = [step.reference for step in alignment.operations if step.kind != "I"]
        assert rebuilt == reference == list(alignment.reference)
        rebuilt = [step.hypothesis for step in alignment.operations if step.kind != "D"]
        assert rebuilt == hypothesis == list(alignment.hypothesis)
        for kind, said, recognised in alignment.operations:
            assert (kind == "C") == (said == recognised)
        assert alignment.counts == count_errors(reference, hypothesis)


def test_every_utterance_has_the_counts_of_jiwer():
    for reference, hypothesis in random_pairs(400, seed=4):
        counts = count_errors(reference, hypothesis)
        theirs = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert counts == ErrorCounts(
            theirs.substitutions, theirs.deletions, theirs.insertions, theirs.hits
        )


def test_corpus_rates_are_those_of_jiwer():
    pairs = [(" ".join(said), " ".join(heard)) for said, heard in random_pairs(300, seed=5)]
    references, hypotheses = zip(*pairs, strict=True)
    score = score_pairs(dict(enumerate_ids(references)), dict(enumerate_ids(hypotheses)))
    assert score.words.rate == pytest.approx(jiwer.wer(list(references), list(hypotheses)))
    assert score.characters.rate == pytest.approx(jiwer.cer(list(references), list(hypotheses)))


def enumerate_ids(texts):
    return ((f"1089-134686-{number:04d}", text) for number, text in enumerate(texts))


@given(sentences)
def test_a_sentence_against_itself_is_right(sentence):
    assert count_errors(sentence, list(sentence)) == ErrorCounts(correct=len(sentence))


@given(sentences, sentences)
def test_swapping_sides_swaps_deletions_and_insertions(reference, hypothesis):
    forth, back = count_errors(reference, hypothesis), count_errors(hypothesis, reference)
    assert forth.errors == back.errors
    assert forth.deletions - forth.insertions == back.insertions - back.deletions


@given(sentences, sentences, sentences)
def test_errors_obey_the_triangle_inequality(first, second, third):
    direct = count_errors(first, third).errors
    assert direct <= count_errors(first, second).errors + count_errors(second, third).errors


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6))
def test_a_score_is_the_sum_of_its_utterances_in_any_order(pairs):
    references = {str(i): " ".join(said) for i, (said, _) in enumerate(pairs)}
    hypotheses = {str(i): " ".join(heard) for i, (_, heard) in enumerate(pairs)}
    score = score_pairs(references, hypotheses)
    assert score.words == sum((count_errors(*pair) for pair in pairs), ErrorCounts())
    backwards = score_pairs(references, dict(reversed(hypotheses.items())))
    assert backwards == score


@given(st.lists(st.tuples(any_text, any_text), min_size=1, max_size=4))
def test_the_cross_check_agrees_on_any_text(pairs):
    references = {str(i): said for i, (said, _) in enumerate(pairs)}
    cross_check(score_pairs(references, {str(i): heard for i, (_, heard) in enumerate(pairs)}))


def test_hypotheses_are_joined_by_id_and_not_by_position():
    references = {"1089-134686-0000": "A B", "1089-134686-0001": "C D"}
    score = score_pairs(references, {"1089-134686-0001": "C D", "1089-134686-0000": "A B"})
    assert score.words == ErrorCounts(correct=4)
    assert [utterance.id for utterance in score.utterances] == list(references)


def test_a_missing_hypothesis_counts_as_deletions_and_is_named():
    score = score_pairs({"a": "ONE TWO", "b": "THREE"}, {"b": "THREE"})
    assert score.missing == ("a",)
    assert score.words == ErrorCounts(deletions=2, correct=1)
    assert score.sentence_errors == 1
    assert "1 without a hypothesis, counted as deletions: a" in format_summary(score)


def test_an_empty_hypothesis_is_not_a_missing_one():
    score = score_pairs({"a": "ONE"}, {"a": ""})
    assert score.missing == ()
    assert score.words == ErrorCounts(deletions=1)


def test_a_hypothesis_of_an_unknown_id_is_an_error_that_names_it():
    with pytest.raises(ScoringError, match=r"1 of 2 hypotheses .* 1089-134686-0009"):
        score_pairs({"a": "ONE"}, {"a": "ONE", "1089-134686-0009": "TWO"})


def test_many_unknown_ids_are_counted_and_the_first_named():
    with pytest.raises(ScoringError, match="x0, x1, x2, x3, x4 and 95 more"):
        score_pairs({"a": "ONE"}, {f"x{i}": "" for i in range(100)})


def test_no_reference_at_all_is_an_error():
    with pytest.raises(ScoringError, match="no reference"):
        score_pairs({}, {})


def test_one_letter_lines_are_scored():
    score = score_pairs({"a": "A", "b": "I", "c": "O"}, {"a": "A", "b": "", "c": "OH"})
    assert score.words == ErrorCounts(substitutions=1, deletions=1, correct=1)
    assert score.sentence_error_rate == pytest.approx(2 / 3)


def test_insertions_into_an_empty_reference_count_in_the_corpus():
    score = score_pairs({"silence": "", "a": "ONE TWO"}, {"silence": "UM", "a": "ONE TWO"})
    assert score.words.rate == 0.5
    assert score.sentence_error_rate == 0.5
    cross_check(score)


def test_tabs_and_runs_of_spaces_separate_words_like_one_space():
    score = score_pairs({"a": "\tONE  TWO\u3000THREE\n"}, {"a": "ONE\tTWO THREE"})
    assert score.words == ErrorCounts(correct=3)
    assert score.characters == ErrorCounts(correct=len("ONE TWO THREE"))


def test_the_space_between_words_is_a_character():
    assert score_pairs({"a": "NO ON"}, {"a": "NOON"}).characters == ErrorCounts(
        deletions=1, correct=4
    )


def test_a_part_of_a_score_is_a_score():
    score = score_pairs({"a-1": "ONE", "b-1": "TWO"}, {"a-1": "ONE", "b-1": "TOO"})
    part = Score(tuple(u for u in score.utterances if u.id.startswith("b")))
    assert part.words.rate == part.sentence_error_rate == 1.0


def test_an_utterance_of_ten_thousand_words_is_scored_fast():
    draw = random.Random(0)
    reference = [f"WORD{draw.randrange(3000)}" for _ in range(10_000)]
    hypothesis = [word if draw.random() < 0.9 else "X" for word in reference]
    changed = sum(map(str.__ne__, reference, hypothesis))
    start = time.process_time()
    score = score_pairs({"long": " ".join(reference)}, {"long": " ".join(hypothesis)})
    assert score.utterances[0].align().counts == score.words
    assert time.process_time() - start < 3.0
    assert 0 < score.words.errors <= changed


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_the_cross_check_refuses_altered_counts(unit):
    good = score_pairs({"a": "ONE TWO"}, {"a": "ONE TOO"})
    values = vars(good.utterances[0]) | {unit: ErrorCounts(correct=2)}
    with pytest.raises(ScoringError, match="jiwer counts 1 /"):
        cross_check(Score((type(good.utterances[0])(**values),)))


def test_the_cross_check_covers_more_utterances_than_one_part():
    references = {str(i): "ONE TWO" for i in range(2500)}
    score = score_pairs(references, dict.fromkeys(references, "ONE"))
    assert score.words == ErrorCounts(deletions=2500, correct=2500)
    cross_check(score)


def test_the_first_line_of_a_summary_is_kaldis():
    counts = ErrorCounts(substitutions=25, deletions=10, insertions=5, correct=746)
    assert format_counts("WER", counts) == "%WER 5.12 [ 40 / 781, 5 ins, 10 del, 25 sub ]"


def test_a_summary_states_rates_and_counts():
    score = score_pairs({"a": "THE CAT SAT", "b": "ON"}, {"a": "THE RAT", "b": "ON"})
    assert format_summary(score).split("\n") == [
        "%WER 50.00 [ 2 / 4, 0 ins, 1 del, 1 sub ]",
        "%CER 38.46 [ 5 / 13, 0 ins, 4 del, 1 sub ]",
        "%SER 50.00 [ 1 / 2 ]",
        "4 words in 2 utterances: 2 correct, 1 substituted, 1 deleted, 0 inserted",
    ]


def test_an_infinite_rate_is_written_as_such():
    assert format_counts("WER", ErrorCounts(insertions=3)) == (
        "%WER inf [ 3 / 0, 3 ins, 0 del, 0 sub ]"
    )


def test_an_alignment_is_drawn_in_three_lines():
    assert format_alignment(align(["THE", "CAT", "SAT"], ["BIG", "THE", "CATTY", "SAT", "ON"])) == (
        "REF:  *** THE CAT   SAT **\nHYP:  BIG THE CATTY SAT ON\nEVAL: I       S         I"
    )


def test_deleted_words_stand_over_asterisks():
    assert format_alignment(align(["ONE", "TWO", "THREE"], ["ONE", "THREE"])) == (
        "REF:  ONE TWO THREE\nHYP:  ONE *** THREE\nEVAL:     D"
    )


def test_wide_and_combining_characters_keep_the_columns():
    drawn = format_alignment(align(["東京", "e\u0301t", "\uff21"], ["X", "et", "A"]))
    assert drawn == "REF:  東京 e\u0301t \uff21\nHYP:  X    et A\nEVAL: S    S  S"


def test_an_empty_alignment_has_three_bare_lines():
    assert format_alignment(align([], [])) == "REF:\nHYP:\nEVAL:"
