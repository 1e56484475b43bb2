"""`asr score` from files to figures, and counting as a library."""

import json
import random
import subprocess
import sys

import jiwer
import pytest

from asr import score
from asr.cli import main
from asr.errors import ScoringError
from asr.scoring import ErrorCounts, ErrorMetric

REFERENCES = "1089-1-0000 THE CAT SAT\n1089-1-0001 ON THE MAT\n12-1-0000 A\n12-1-0001\n"
# Reordered, one missing, one not empty that should be.
HYPOTHESES = "12-1-0001 UM\n1089-1-0001 ON A MAT\n1089-1-0000 THE CAT SAT\n"


@pytest.fixture
def call(tmp_path, capsys):
    """Scores two contents and gives exit code, stdout and stderr."""

    def run(ref, hyp, *words, names=("ref.txt", "hyp.txt")):
        paths = [tmp_path / name for name in names]
        for path, content in zip(paths, (ref, hyp), strict=True):
            path.write_text(content, encoding="utf-8")
        command = ["score", "--ref", paths[0], "--hyp", paths[1], *words]
        code = main([str(word) for word in command])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def jsonl(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_the_figures_come_in_kaldis_order(call):
    code, out, err = call(REFERENCES, HYPOTHESES)
    lines = out.split("\n")
    assert code == 0
    assert lines[0] == "%WER 42.86 [ 3 / 7, 1 ins, 1 del, 1 sub ]"
    assert lines[1].startswith("%CER ")
    assert lines[2] == "%SER 75.00 [ 3 / 4 ]"
    assert lines[3].endswith("5 correct, 1 substituted, 1 deleted, 1 inserted")
    assert "95 % interval of the WER: " in out
    assert "over speakers" in out
    assert "normalizer none (version 1), alignment minimum" in out
    assert "1 of 4 utterances have no hypothesis and count as deletions: 12-1-0000" in err


def test_tables_are_those_asked_for(call):
    _, out, err = call(REFERENCES, HYPOTHESES, "--by", "speaker,duration")
    assert "1089       2      6   16.67" in out
    assert "length" not in out
    assert "no duration of any utterance is known" in err


def test_tables_may_be_left_out(call):
    _, out, _ = call(REFERENCES, HYPOTHESES, "--by", "none", "--most", "0")
    assert "speaker " not in out
    assert "most " not in out


def test_speakers_may_come_from_a_file_of_their_own(call, tmp_path):
    (tmp_path / "utt2spk").write_text("u1 ann\nu2 bob\n")
    _, out, _ = call("u1 A\nu2 B\n", "u1 A\nu2 C\n", "--speakers", tmp_path / "utt2spk")
    assert "bob" in out


def test_frequent_errors_are_listed(call):
    _, out, _ = call(REFERENCES, HYPOTHESES)
    assert "most substituted: THE -> A (1)" in out
    assert "most deleted: A (1)" in out
    assert "most inserted: UM (1)" in out


def test_the_error_rate_may_exceed_a_hundred(call):
    _, out, _ = call("u1 A\n", "u1 B C D\n")
    assert out.startswith("%WER 300.00 [ 3 / 1, 2 ins, 0 del, 1 sub ]")


@pytest.mark.parametrize(("limit", "code"), [("42.85", 1), ("42.86", 0)])
def test_the_gate_decides_the_exit_code(call, limit, code):
    assert call(REFERENCES, HYPOTHESES, "--max-wer", limit)[0] == code


def test_extra_hypotheses_are_an_error(call):
    code, out, err = call("u1 A\n", "u1 A\nu2 B\n")
    assert (code, out) == (1, "")
    assert "1 of 2 hypotheses have an id that no reference has: u2" in err


def test_the_report_says_what_the_normaliser_changed(call, tmp_path):
    (tmp_path / "same").write_text("yeah => yes\n")
    words = ("--normalizer", "english", "--equivalents", tmp_path / "same")
    _, out, _ = call("u1 Yes, it is 5.\n", "u1 yeah it's five\n", *words)
    assert out.startswith("%WER 0.00")
    assert "normalizer english (version 1) and 1 equivalents of" in out
    assert "without normalising: %WER 100.00" in out
    assert "changed it by -100.00" in out


def test_the_alignment_may_be_sclites(call):
    _, out, _ = call("u1 A B C D E\n", "u1 D E X Y Z\n", "--align", "sclite")
    assert out.startswith("%WER 120.00 [ 6 / 5, 3 ins, 3 del, 0 sub ]")


def test_an_n_best_list_has_an_oracle(call):
    hypotheses = jsonl({"id": "u1", "text": "A X", "nbest": ["A X", "A B"]})
    _, out, _ = call("u1 A B\n", hypotheses, names=("ref.txt", "hyp.jsonl"))
    assert out.startswith("%WER 50.00")
    assert "oracle of 1 n-best lists of up to 2: %WER 0.00" in out


def test_words_are_sorted_by_how_often_training_had_them(call, tmp_path):
    (tmp_path / "train").write_text("t1 a rare word\nt2 a b\n")
    words = ("--train-text", tmp_path / "train", "--normalizer", "english")
    _, out, _ = call("u1 A RARE BIRD\n", "u1 A REAR BIRD\n", *words)
    table = out[out.index("seen in training") :].split("\n")
    assert table[1].split() == ["0", "1", "2", "1", "50.00", "100.00"]
    assert table[2].split() == ["1", "1", "0", "0", "0.00", "0.00"]


def test_training_text_may_be_plain_lines(call, tmp_path):
    (tmp_path / "train").write_text("THE CAT\nTHE DOG\n")
    words = ("--train-text", tmp_path / "train", "--train-format", "lines")
    _, out, _ = call("u1 THE CAT\n", "u1 THE CAT\n", *words)
    assert "2-5                   1           1        1     100.00  100.00" in out


def test_one_speaker_of_one_utterance_has_no_interval(call):
    assert "95 % interval of the WER: none, since" in call("u1 A\n", "u1 A\n")[1]


def test_a_report_is_written(call, tmp_path):
    code, _, err = call(REFERENCES, HYPOTHESES, "--report", tmp_path / "out")
    assert code == 0
    assert "the report is in " in err
    figures = json.loads((tmp_path / "out/report.json").read_text())
    assert figures["words"]["errors"] == 3
    assert (tmp_path / "out/report.html").is_file()


def test_the_same_file_on_both_sides_is_warned_of(tmp_path, capsys):
    path = tmp_path / "m.jsonl"
    path.write_text(jsonl({"id": "u1", "text": "A"}))
    assert main(["score", "--ref", str(path), "--hyp", str(path)]) == 0
    assert "on both sides, with the same texts; is pred_text missing" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--by", "age"], ["--max-wer", "-1"], ["--format", "srt"]])
def test_wrong_options_are_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["score", "--ref", "a", "--hyp", "b", *words])
    assert end.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_the_counts_of_texts_add_up():
    total = score("the cat", "the hat") + score(["a", "b c"], ["a", "b"]) + score({}, {})
    assert total == ErrorCounts(substitutions=1, deletions=1, correct=3)
    assert score({"u1": "a", "u2": "b"}, {"u2": "b"}) == ErrorCounts(deletions=1, correct=1)


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        (["a"], {"u1": "a"}, "one side has utterance ids"),
        (["a", "b"], ["a"], "2 references and 1 hypotheses"),
        ({}, {"u1": "a"}, "no reference"),
    ],
)
def test_texts_that_cannot_be_joined_are_refused(references, hypotheses, message):
    with pytest.raises(ScoringError, match=message):
        score(references, hypotheses)


def test_a_library_call_counts_as_jiwer_does():
    draw = random.Random(1)
    said = [" ".join(draw.choices("abcdef", k=draw.randint(1, 12))) for _ in range(300)]
    heard = [" ".join(draw.choices("abcdef", k=draw.randint(0, 12))) for _ in range(300)]
    theirs = jiwer.process_words(said, heard)
    assert score(said, heard) == ErrorCounts(
        theirs.substitutions, theirs.deletions, theirs.insertions, theirs.hits
    )


def test_a_metric_sums_batches_and_forgets_on_reset():
    metric = ErrorMetric()
    metric.update(["a b"], ["a c"])
    metric.update(["d"], [""])
    assert metric.compute() == ErrorCounts(substitutions=1, deletions=1, correct=1)
    metric.reset()
    assert metric.compute() == ErrorCounts()


def test_a_metric_of_characters_counts_the_spaces_between_words():
    metric = ErrorMetric("characters")
    metric.update(["no  on"], ["noon"])
    assert metric.compute() == ErrorCounts(deletions=1, correct=4)


def test_a_metric_counts_an_id_once():
    metric = ErrorMetric()
    metric.update(["a", "b"], ["a", "x"], ["u1", "u2"])
    metric.update(["a"], ["a"], ["u1"])
    assert metric.compute() == ErrorCounts(substitutions=1, correct=1)


def test_a_metric_refuses_batches_that_do_not_fit():
    with pytest.raises(ScoringError, match="2 references, 1 hypotheses and no ids"):
        ErrorMetric().update(["a", "b"], ["a"])
    with pytest.raises(ScoringError, match="one text"):
        ErrorMetric().update("a", "b")
    with pytest.raises(ScoringError, match="words or characters"):
        ErrorMetric("letters")


_WORKER = """
import sys
import torch.distributed as distributed
from asr.scoring import ErrorMetric
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
# Five utterances over two processes, filled up to six by repeating the first.
ids = [[0, 2, 4], [1, 3, 0]][rank]
by_id, counted = ErrorMetric(), ErrorMetric()
by_id.update(["a b"] * 3, ["a x" if i == 0 else "a b" for i in ids], [str(i) for i in ids])
if rank == 1:  # the other process has nothing
    counted.update(["a"] * 3, [""] * 3)
print(by_id.compute(), counted.compute(), sep="\\n")
distributed.destroy_process_group()
"""


def test_a_metric_is_that_of_one_process_whatever_the_number(tmp_path):
    place = f"file://{tmp_path / 'meeting'}"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(rank), place], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate(timeout=100)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert set(outputs) == {f"{ErrorCounts(1, 0, 0, 9)}\n{ErrorCounts(deletions=3)}\n"}
