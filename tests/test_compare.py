"""Comparisons of systems, and `asr compare`, against figures made by hand and sc_stats."""

import json
import random
import re
import shutil

import pytest

from asr.cli import main
from asr.errors import ScoringError
from asr.scoring import score_pairs
from asr.scoring.comparison import adjust_for_many, compare, compare_all

WORDS = [f"W{number}" for number in range(40)]


def simulate(utterances, rates, seed=0):
    """References of several speakers, and one system for each rate of substituted words."""
    draw = random.Random(seed)
    references = {
        f"s{place % 12:02d}-{place:04d}": " ".join(draw.choices(WORDS, k=draw.randint(3, 15)))
        for place in range(utterances)
    }
    systems = [
        {
            identity: " ".join(
                f"X{draw.randrange(9)}" if draw.random() < rate else word for word in text.split()
            )
            for identity, text in references.items()
        }
        for rate in rates
    ]
    return references, systems


@pytest.fixture
def compared():
    references = {"a": "A B C D", "b": "E F G H", "c": "I J", "d": "K L"}
    first = score_pairs(references, {"a": "A X Y Z", "b": "E F G H", "c": "I X", "d": "K L"})
    second = score_pairs(references, {"a": "A B C D", "b": "E F X H", "c": "Y J", "d": "K L"})
    return compare(first, second, {}, names=("A", "B"))


def test_a_difference_is_the_second_rate_less_the_first(compared):
    assert (compared.first_words.errors, compared.second_words.errors) == (4, 2)
    assert compared.difference == pytest.approx(-2 / 12)
    assert compared.relative_difference == pytest.approx(-0.5)
    assert compared.interval.low < compared.difference < compared.interval.high


def test_utterances_that_changed_are_listed_each_way(compared):
    assert (compared.better, compared.worse) == (1, 1)
    improved, worsened = compared.most_improved[0], compared.most_worsened[0]
    assert (improved.first.id, improved.errors) == ("a", -3)
    assert (worsened.first.id, worsened.errors) == ("b", 1)
    assert worsened.second.hypothesis == "E F X H"


def test_the_greatest_changes_stand_first_and_equals_in_order():
    references = dict.fromkeys("pqrst", "A B C D")
    first = score_pairs(references, dict.fromkeys("pqrst", "A B C D"))
    heard = {"p": "X B C D", "q": "X X C D", "r": "A B C D", "s": "X B C D", "t": "X X X D"}
    changes = compare(first, score_pairs(references, heard), {}, most=3).most_worsened
    assert [change.first.id for change in changes] == ["t", "q", "p"]


def test_all_pairs_are_compared_in_order():
    references, systems = simulate(30, [0.1, 0.2, 0.3])
    scores = {name: score_pairs(references, one) for name, one in zip("abc", systems, strict=True)}
    pairs = compare_all(scores, {}, replications=100)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    with pytest.raises(ScoringError, match="1 systems"):
        compare_all({"a": scores["a"]}, {})


def test_p_values_of_many_tests_are_raised_as_holm_does():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 but not below the one before, 0.9 x 1.
    assert adjust_for_many([0.02, 0.9, 0.01, 0.03]) == pytest.approx((0.06, 0.9, 0.04, 0.06))
    assert adjust_for_many([0.5, 0.6]) == (1.0, 1.0)
    assert adjust_for_many([]) == ()


def write_systems(folder, references, systems):
    for name, texts in zip(["ref", "one", "two", "three"], [references, *systems], strict=False):
        lines = [
            json.dumps({"id": identity, "text": text, "speaker": identity[:3]})
            for identity, text in texts.items()
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_the_command_tells_which_system_is_better(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_systems(tmp_path, *simulate(300, [0.10, 0.04]))
    words = ["compare", "one.jsonl", "two.jsonl", "--ref", "ref.jsonl", "--json", "out.json"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert re.match(
        r"%WER \d+\.\d\d \[ \d+ / \d+, 0 ins, 0 del, \d+ sub \] one.jsonl\n%WER", output
    )
    assert "two.jsonl against one.jsonl: -" in output
    assert "paired, bootstrap over speakers, 10000" in output
    assert "p < 0.001: two.jsonl is better" in output
    assert "normalizer none (version 1)" in output
    figures = json.loads((tmp_path / "out.json").read_text())
    (pair,) = figures["comparisons"]
    rates = [system["wer"] for system in figures["systems"]]
    assert pair["difference"] == pytest.approx(rates[1] - rates[0])
    assert pair["interval"]["low"] < pair["difference"] < pair["interval"]["high"] < 0
    assert pair["mapsswe"]["p_value"] < 0.001
    changed = pair["most_improved"][0]
    assert changed["first"]["words"]["errors"] > changed["second"]["words"]["errors"]


def test_the_command_compares_three_systems_in_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_systems(tmp_path, *simulate(100, [0.1, 0.1, 0.1]))
    systems = [f"{name}.jsonl" for name in ("one", "two", "three")]
    assert main(["compare", "--ref", "ref.jsonl", *systems, "--align", "sclite"]) == 0
    output = capsys.readouterr().out
    assert output.count(" for 3 pairs (Holm)") == 3
    assert "three.jsonl against two.jsonl" in output


def test_missing_hypotheses_are_warned_of_and_count(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    references, (first, second) = simulate(20, [0.1, 0.1])
    second.pop("s01-0001")
    write_systems(tmp_path, references, [first, second])
    assert main(["compare", "one.jsonl", "two.jsonl", "--ref", "ref.jsonl"]) == 0
    captured = capsys.readouterr()
    assert "warning: 1 utterances have no hypothesis in two.jsonl" in captured.err
    assert "two.jsonl (1 without a hypothesis)" in captured.out


def test_systems_of_one_name_are_told_apart_by_their_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    references, systems = simulate(20, [0.1, 0.1])
    write_systems(tmp_path, references, systems)
    (tmp_path / "old").mkdir()
    shutil.copy("one.jsonl", "old/two.jsonl")
    words = ["compare", "two.jsonl", "old/two.jsonl", "--ref", "ref.jsonl"]
    assert main(words) == 0
    assert "old/two.jsonl against two.jsonl" in capsys.readouterr().out
    assert main([*words, "--name", "new", "--name", "old"]) == 0
    assert "old against new" in capsys.readouterr().out
    assert main([*words, "--name", "same", "--name", "same"]) == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["one.jsonl", "--ref", "ref.jsonl"], "give two or more systems"),
        (["one.jsonl", "two.jsonl", "--ref", "ref.jsonl", "--name", "A"], "1 names were given"),
        (["one.jsonl", "two.jsonl", "--ref", "ref.jsonl", "--replications", "5"], "5 replications"),
        (["one.jsonl", "two.jsonl", "--ref", "ref.jsonl", "--most", "-1"], "-1 utterances"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(words, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_systems(tmp_path, *simulate(5, [0.1, 0.1]))
    assert main(["compare", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_hypotheses_of_other_recordings_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    references, (first, second) = simulate(5, [0.1, 0.1])
    write_systems(tmp_path, references, [first, {**second, "other": "A"}])
    assert main(["compare", "one.jsonl", "two.jsonl", "--ref", "ref.jsonl"]) == 1
    assert "no reference has: other" in capsys.readouterr().err
