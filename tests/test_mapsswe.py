"""MAPSSWE against segments found by hand, NIST's state graph walked by the letter, and sc_stats."""

import math
import random
import re
import shutil
import subprocess

import pytest

from asr.errors import ScoringError
from asr.scoring import align, score_pairs
from asr.scoring.mapsswe import mapsswe, segment_errors, segment_test

# Debian keeps NIST's programs behind one that calls them.
WRAPPER = [] if shutil.which("sc_stats") else ["sctk"]


def segments_of(reference, first, second, boundary_words=2):
    words = reference.split()
    return segment_errors(align(words, first.split()), align(words, second.split()), boundary_words)


@pytest.mark.parametrize(
    ("reference", "first", "second", "expected"),
    [
        ("A B C D", "A B C D", "A B C D", []),
        ("A B C D", "A X C D", "A B C D", [(1, 0)]),
        # One word correct in both does not part errors, two do.
        ("A B C D E", "X B Y D E", "A B C D E", [(2, 0)]),
        ("A B C D E", "X B C Y E", "A B C D E", [(1, 0), (1, 0)]),
        ("A B C D E", "X B C D E", "A B Y D E", [(1, 1)]),
        ("A B C D E", "X B C D E", "A B C Y E", [(1, 0), (0, 1)]),
        # What is correct in one system only parts nothing.
        ("A B C D E F", "X B C D Y F", "A B Z D E F", [(2, 1)]),
        # A word inserted between two correct ones keeps them from parting errors.
        ("A B C D", "X B C Y", "A B I C D", [(2, 1)]),
        ("A B", "I A B J", "A B", [(1, 0), (1, 0)]),
        ("A B", "A B", "A B J", [(0, 1)]),
        ("", "I", "", [(1, 0)]),
        ("A", "", "A", [(1, 0)]),
        ("A B C", "", "", [(3, 3)]),
    ],
)
def test_segments_are_those_found_by_hand(reference, first, second, expected):
    assert segments_of(reference, first, second) == expected


def test_more_boundary_words_join_segments():
    sentence = "X B C D Y"
    assert segments_of("A B C D E", sentence, "A B C D E", 3) == [(1, 0), (1, 0)]
    assert segments_of("A B C D E", sentence, "A B C D E", 4) == [(2, 0)]


def walk_graph(first, second):
    """Walk the graph that NIST's mtchprs.c draws: begin, error and good states.

    A word correct in both is put at the end, for the walk to see what is inserted there.
    """
    kinds = [[step.kind for step in side.operations] + ["C"] for side in (first, second)]
    segments, errors, state, good = [], [0, 0], "begin", 0
    at = [0, 0]
    for _ in range(len(first.reference) + 1):
        for side in (0, 1):
            while kinds[side][at[side]] == "I":
                errors[side] += 1
                at[side] += 1
                state = "error"
        both = [kinds[side][at[side]] for side in (0, 1)]
        for side in (0, 1):
            errors[side] += both[side] != "C"
            at[side] += 1
        if both != ["C", "C"]:
            state = "error"
        elif state == "error":
            state, good = "good", 1
        elif state == "good":
            good += 1
        if state == "good" and good == 2:
            segments.append(tuple(errors))
            state, errors = "begin", [0, 0]
    return segments if state == "begin" else [*segments, tuple(errors)]


def damage(draw, words, rate=0.25):
    """Substitute, drop and insert words."""
    heard = []
    for word in words:
        chance = draw.random() / rate
        if chance < 0.2:
            heard.append(f"i{draw.randrange(99)}")
        if chance < 0.6:
            heard.append(f"s{draw.randrange(99)}")
        elif not chance < 1:
            heard.append(word)
    return heard


def test_segments_are_those_of_nists_graph():
    draw = random.Random(0)
    for _ in range(3000):
        words = draw.choices("ABCDE", k=draw.randrange(15))
        first, second = (
            align(words, damage(draw, words, 0.5) + draw.choices("XY", k=draw.randrange(2)))
            for _ in range(2)
        )
        found = segment_errors(first, second)
        assert found == walk_graph(first, second)
        assert [sum(side) for side in zip(*found, strict=True)] in (
            [[first.counts.errors, second.counts.errors]] if found else [[]]
        )


def test_the_statistic_is_the_one_worked_out_by_hand():
    # Differences 1, 2, -1, 1, 2: mean 1, variance (0 + 1 + 4 + 0 + 1) / 4, z 1 / sqrt(1.5 / 5).
    test = segment_test([(1, 0), (2, 0), (0, 1), (2, 1), (3, 1)])
    assert (test.segments, test.mean) == (5, 1)
    assert test.deviation == pytest.approx(math.sqrt(1.5))
    assert test.z == pytest.approx(math.sqrt(10 / 3))
    assert test.p_value == pytest.approx(0.06789, abs=1e-5)
    assert not test.reliable


@pytest.mark.parametrize(
    ("z", "p_value"), [(0.0, 1.0), (1.0, 0.3173), (1.645, 0.1), (1.96, 0.05), (2.576, 0.01)]
)
def test_p_values_are_those_of_printed_tables(z, p_value):
    # Differences of mean z / sqrt(n - 1) and square 1: 100 of 1 + c, and of -1 + c.
    n = 200
    center = z / math.sqrt(n - 1)
    test = segment_test([(1 + center, 0), (0, 1 - center)] * (n // 2))
    assert test.z == pytest.approx(z, abs=1e-9)
    assert test.p_value == pytest.approx(p_value, abs=1e-4)


@pytest.mark.parametrize(("segments", "p_value"), [(1, 1.0), (2, 0.5), (6, 1 / 32)])
def test_segments_that_all_differ_alike_have_the_sign_tests_p_value(segments, p_value):
    test = segment_test([(1, 0)] * segments)
    assert (test.z, test.p_value) == (math.inf, p_value)
    assert segment_test([(0, 1)] * segments).z == -math.inf


def test_equal_systems_do_not_differ():
    references = {"a": "A B C", "b": "D E F"}
    score = score_pairs(references, {"a": "A X C", "b": "D E F"})
    test = mapsswe(score, score)
    assert (test.segments, test.mean, test.z, test.p_value) == (1, 0, 0, 1)


def test_swapping_the_systems_turns_the_sign_only():
    draw = random.Random(1)
    references = {str(i): " ".join(draw.choices("ABCDEFG", k=12)) for i in range(60)}
    systems = [
        score_pairs(
            references,
            {
                identity: " ".join([*damage(draw, text.split(), rate), *draw.choices("XY", k=1)])
                for identity, text in references.items()
            },
        )
        for rate in (0.2, 0.3)
    ]
    there, back = mapsswe(*systems), mapsswe(*reversed(systems))
    assert (there.segments, there.z, there.p_value) == (back.segments, -back.z, back.p_value)


def test_chance_finds_a_difference_in_1_of_20_trials():
    draw = random.Random(2)
    references = {str(i): " ".join(draw.choices("ABCDEFGHIJ", k=10)) for i in range(60)}
    found = 0
    for _ in range(200):
        first, second = (
            score_pairs(
                references,
                {i: " ".join(damage(draw, t.split(), 0.15)) for i, t in references.items()},
            )
            for _ in range(2)
        )
        found += mapsswe(first, second).p_value < 0.05
    assert 3 <= found <= 19


def test_unlike_references_are_refused():
    first = score_pairs({"a": "A"}, {"a": "A"})
    with pytest.raises(ScoringError, match="'a' with the reference 'A' stands where"):
        mapsswe(first, score_pairs({"a": "B"}, {"a": "A"}))
    with pytest.raises(ScoringError, match="another score has 'b'"):
        mapsswe(first, score_pairs({"b": "A"}, {"b": "A"}))
    with pytest.raises(ScoringError, match="different references"):
        segment_errors(align(["A"], []), align(["B"], []))


def run_sc_stats(folder, references, systems):
    """Let sclite align each system and sc_stats compare them; give what its report says."""

    def write(name, texts):
        lines = [f"{text} ({identity})" for identity, text in texts.items()]
        (folder / name).write_text("\n".join(lines) + "\n")

    write("ref.trn", references)
    aligned = ""
    for place, texts in enumerate(systems):
        write(f"{place}.trn", texts)
        command = [*WRAPPER, "sclite", "-r", "ref.trn", "trn", "-h", f"{place}.trn", "trn"]
        done = subprocess.run(
            [*command, "-i", "spu_id", "-o", "sgml", "stdout"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        aligned += done.stdout
    report = subprocess.run(
        [*WRAPPER, "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "-"],
        cwd=folder,
        input=aligned,
        capture_output=True,
        text=True,
        check=True,
    )
    pattern = r"# segs: (\d+).*mean: *(\S+)\) \(std dev: *(\S+)\) \(Z Stat: *(\S+)\)"
    match = re.search(pattern, report.stdout)
    assert match, report.stdout
    return int(match[1]), *(float(match[place]) for place in (2, 3, 4))


@pytest.mark.skipif(
    not (shutil.which("sc_stats") or shutil.which("sctk")), reason="NIST's sctk is not installed"
)
@pytest.mark.parametrize("rates", [(0.1, 0.12), (0.4, 0.2), (0.05, 0.05)])
def test_the_test_is_that_of_sc_stats(tmp_path, rates):
    draw = random.Random(str(rates))
    references = {
        f"spk{place % 7}-{place:04d}": " ".join(draw.choices("ABCDEFG", k=draw.randrange(20)))
        for place in range(400)
    }
    systems = [
        {
            identity: " ".join(damage(draw, text.split(), rate) + draw.choices(["", "X"], k=1))
            for identity, text in references.items()
        }
        for rate in rates
    ]
    test = mapsswe(*(score_pairs(references, system, "sclite") for system in systems))
    found = run_sc_stats(tmp_path, references, systems)
    assert found == (
        test.segments,
        *(pytest.approx(value, abs=6e-4) for value in (test.mean, test.deviation, test.z)),
    )
