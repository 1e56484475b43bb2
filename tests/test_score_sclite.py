"""sclite's alignment against the program sclite itself, and against its costs cell by cell."""

import random
import re
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from asr.errors import ScoringError, UsageError
from asr.scoring import ErrorCounts, align, cross_check, score_pairs
from asr.scoring.sclite import align_as_sclite, count_errors_as_sclite

WORDS = ["A", "a", "THE", "CAT", "L'ÉTÉ", "東京", "o", "ﬁ", "🙂", "straße", "don't", "É"]
_PATH = re.compile(r'<PATH id="\((.*?)\)".*?>\s*(.*?)\s*</PATH>', re.DOTALL)
_STEP = re.compile(r'([CSDI]),(?:"([^"]*)")?,(?:"([^"]*)")?')


@pytest.fixture(scope="module")
def sclite():
    """The program; Debian's package puts it beside the path."""
    program = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
    if program is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk)")
    return program


def sclite_alignments(program: str, folder: Path, pairs) -> list[list[tuple[str, str, str]]]:
    """Let sclite align pairs; give kind, reference word and hypothesis word of every step."""
    for name, side in (("ref.trn", 0), ("hyp.trn", 1)):
        lines = [f"{' '.join(pair[side])} (s-{i})\n" for i, pair in enumerate(pairs)]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    command = [program, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "spu_id", "-s"]
    output = subprocess.run(
        [*command, "-e", "utf-8", "-o", "sgml", "stdout"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {identity: _STEP.findall(steps) for identity, steps in _PATH.findall(output)}
    return [found[f"s-{i}"] for i in range(len(pairs))]


def ours(pair):
    steps = align_as_sclite(*pair).operations
    return [(kind, said or "", heard or "") for kind, said, heard in steps]


def counted(steps):
    kinds = [step[0] for step in steps]
    return ErrorCounts(*(kinds.count(kind) for kind in "SDIC"))


def damaged(draw, reference, words, rate):
    hypothesis = []
    for word in reference:
        chance = draw.random()
        if chance < rate / 3:
            hypothesis += [draw.choice(words), word]
        elif chance < 2 * rate / 3:
            hypothesis.append(draw.choice(words))
        elif chance > rate:
            hypothesis.append(word)
    return hypothesis


def random_pairs(number, seed):
    """Unequal lengths, empty sides, repeated words, unicode; alike, hardly alike, and unlike."""
    draw = random.Random(seed)
    for _ in range(number):
        words = WORDS[: draw.choice([2, 3, 5, len(WORDS)])]
        reference = draw.choices(words, k=draw.choice([0, 1, 2, 3, 5, 8, 13, 21]))
        if draw.random() < 0.3:
            yield reference, draw.choices(words, k=draw.choice([0, 1, 3, 8, 20]))
        else:
            yield reference, damaged(draw, reference, words, draw.random())


def cheapest(reference, hypothesis):
    """Give the least cost of an alignment with sclite's weights, cell by cell."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=np.int64)
    table[:, 0] = 3 * np.arange(len(reference) + 1)
    table[0, :] = 3 * np.arange(len(hypothesis) + 1)
    for i, said in enumerate(reference, start=1):
        for j, heard in enumerate(hypothesis, start=1):
            paired = table[i - 1, j - 1] + 4 * (said != heard)
            table[i, j] = min(paired, table[i - 1, j] + 3, table[i, j - 1] + 3)
    return int(table[-1, -1])


def test_five_thousand_random_pairs_are_aligned_as_sclite_aligns_them(sclite, tmp_path):
    pairs = list(random_pairs(5000, seed=1))
    theirs = sclite_alignments(sclite, tmp_path, pairs)
    for pair, steps in zip(pairs, theirs, strict=True):
        assert ours(pair) == steps, pair
        assert count_errors_as_sclite(*pair) == counted(steps), pair


def test_real_transcripts_are_aligned_as_sclite_aligns_them(sclite, tmp_path, speech):
    texts = [
        line.split()[1:]
        for file in sorted((speech / "LibriSpeech").rglob("*.trans.txt"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    assert len(texts) > 1000
    draw = random.Random(2)
    vocabulary = sorted({word for text in texts for word in text})
    pairs = [(text, damaged(draw, text, vocabulary, draw.random())) for text in texts]
    # Another transcript for a hypothesis: words in common, but in no order.
    pairs += list(pairwise(texts))[:300]
    for pair, steps in zip(pairs, sclite_alignments(sclite, tmp_path, pairs), strict=True):
        assert ours(pair) == steps
        assert count_errors_as_sclite(*pair) == counted(steps)


def test_alignments_have_the_least_cost_and_rebuild_both_sides():
    for reference, hypothesis in random_pairs(300, seed=3):
        alignment = align_as_sclite(reference, hypothesis)
        counts = alignment.counts
        cost = 4 * counts.substitutions + 3 * (counts.deletions + counts.insertions)
        assert cost == cheapest(reference, hypothesis)
        steps = alignment.operations
        assert [step.reference for step in steps if step.kind != "I"] == reference
        assert [step.hypothesis for step in steps if step.kind != "D"] == hypothesis
        assert count_errors_as_sclite(reference, hypothesis) == counts


def test_a_word_set_right_may_cost_errors():
    reference, hypothesis = list("ABCDE"), list("DEXYZ")
    assert align(reference, hypothesis).counts == ErrorCounts(substitutions=5)
    assert align_as_sclite(reference, hypothesis).counts == ErrorCounts(0, 3, 3, 2)


def test_a_score_aligns_its_utterances_as_it_counted_them():
    score = score_pairs({"a": "A B C D E"}, {"a": "D E X Y Z"}, "sclite")
    assert score.words == ErrorCounts(0, 3, 3, 2)
    assert score.utterances[0].align().counts == score.words
    cross_check(score)


def test_the_cross_check_refuses_fewer_errors_than_there_can_be():
    score = score_pairs({"a": "ONE TWO"}, {"a": "ONE TOO"}, "sclite")
    values = vars(score.utterances[0]) | {"words": ErrorCounts(correct=2)}
    with pytest.raises(ScoringError, match="jiwer counts 1 /"):
        cross_check(type(score)((type(score.utterances[0])(**values),)))


def test_an_unknown_alignment_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="no alignment 'nist'; there are minimum, sclite"):
        score_pairs({"a": "A"}, {"a": "A"}, "nist")


def test_a_long_utterance_is_aligned_fast():
    draw = random.Random(4)
    reference = [f"w{draw.randrange(3000)}" for _ in range(10_000)]
    hypothesis = damaged(draw, reference, reference, 0.05)
    start = time.process_time()
    counts = align_as_sclite(reference, hypothesis).counts
    assert counts == count_errors_as_sclite(reference, hypothesis)
    assert time.process_time() - start < 12
