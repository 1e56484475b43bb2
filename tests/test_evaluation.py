"""Evaluation with a recognizer whose transcripts are known beforehand."""

import json
import math

import pytest

import asr.evaluation
from asr.cli import main
from asr.decoding.options import DEFAULT_OPTIONS
from asr.errors import ScoringError, UsageError
from asr.evaluation import evaluate, format_evaluation
from asr.manifest import Utterance, write_manifest
from asr.scoring import ErrorCounts
from asr.tokenizer import CharacterTokenizer
from asr.transcript import Transcript


class KnownTranscripts:
    """Says for each file what it was told to; a file it was told nothing of fails."""

    decoder_options = DEFAULT_OPTIONS
    tokenizer = CharacterTokenizer(" ABC")
    device = "cpu"

    def __init__(self, text_of, warnings=()):
        self.text_of = text_of
        self.warnings = warnings
        self.asked = None

    def transcribe_many(self, paths, *, batch_seconds, workers):
        self.asked = (list(paths), batch_seconds, workers)
        for path in paths:
            if path in self.text_of:
                yield Transcript(path, self.text_of[path], 2.0, 2.0, warnings=self.warnings)
            else:
                yield Transcript(path, "", 0.0, 0.0, error=f"{path} is empty")


def utterance(number, text, identity=None):
    identity = f"1089-134686-{number:04d}" if identity is None else identity
    return Utterance(identity, f"/audio/{number}.flac", 2.0, text, "1089")


UTTERANCES = [utterance(0, "THE CAT SAT"), utterance(1, "ON THE MAT"), utterance(2, "A")]
HEARD = {
    "/audio/0.flac": "THE CAT SAT",
    "/audio/1.flac": "ON A MAT UP",
    "/audio/2.flac": "A",
}
ONE_LOST = {path: text for path, text in HEARD.items() if path != "/audio/0.flac"}


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `asr evaluate` with known transcripts and gives the exit code."""

    def run(text_of, *words, utterances=UTTERANCES, warnings=()):
        manifest = tmp_path / "test.jsonl"
        write_manifest(manifest, utterances)
        recognizer = KnownTranscripts(text_of, warnings)
        monkeypatch.setattr("asr.cli.evaluate.load_transcriber", lambda *given: recognizer)
        return main(["evaluate", str(manifest), "-m", "some/model", *words])

    return run


def test_errors_are_summed_over_the_manifest():
    evaluation = evaluate(KnownTranscripts(HEARD), UTTERANCES)
    assert evaluation.score.words == ErrorCounts(substitutions=1, insertions=1, correct=6)
    assert evaluation.score.sentence_errors == 1
    assert evaluation.failures == evaluation.warnings == ()


def test_the_recognizer_gets_the_paths_and_settings():
    recognizer = KnownTranscripts(HEARD)
    evaluate(recognizer, UTTERANCES, batch_seconds=30.0, workers=1)
    assert recognizer.asked == (list(HEARD), 30.0, 1)


def test_audio_that_fails_is_named_and_its_words_are_deletions():
    evaluation = evaluate(KnownTranscripts(ONE_LOST), UTTERANCES)
    assert evaluation.score.missing == ("1089-134686-0000",)
    assert evaluation.score.words.deletions == 3
    (failure,) = evaluation.failures
    assert (failure.id, failure.message) == ("1089-134686-0000", "/audio/0.flac is empty")
    assert "failed utterances: 1, warnings: 0" in format_evaluation(evaluation)


def test_an_empty_transcript_is_no_failure():
    evaluation = evaluate(KnownTranscripts(HEARD | {"/audio/2.flac": ""}), UTTERANCES)
    assert evaluation.failures == () == evaluation.score.missing


def test_the_real_time_factor_is_processing_time_over_decoded_audio(monkeypatch):
    clock = iter([100.0, 103.0])
    monkeypatch.setattr(asr.evaluation.time, "perf_counter", lambda: next(clock))
    evaluation = evaluate(KnownTranscripts(HEARD), UTTERANCES)
    assert evaluation.audio_seconds == 6.0
    assert evaluation.real_time_factor == 0.5
    assert "0.002 h of audio in 3.0 s: real-time factor 0.5000" in format_evaluation(evaluation)


def test_a_normaliser_is_applied_to_both_sides_and_named():
    spoken = [utterance(0, "“The cat”, sat.")]
    recognizer = KnownTranscripts({"/audio/0.flac": "the CAT sat"})
    assert evaluate(recognizer, spoken).score.words.errors == 3
    evaluation = evaluate(recognizer, spoken, normalizer="librispeech")
    assert evaluation.score.words == ErrorCounts(correct=3)
    assert "normalizer librispeech (version 1)" in format_evaluation(evaluation)


def test_what_the_normaliser_changed_is_told():
    recognizer = KnownTranscripts({"/audio/0.flac": "the CAT sat"})
    spoken = [utterance(0, "The cat sat")]
    evaluation = evaluate(recognizer, spoken, normalizer="librispeech")
    assert (evaluation.raw.words.errors, evaluation.score.words.errors) == (2, 0)
    assert "normalising changed it by -66.67" in format_evaluation(evaluation)
    assert "normalising" not in format_evaluation(evaluate(recognizer, spoken))


def test_an_unknown_normaliser_is_refused_before_the_work_begins():
    recognizer = KnownTranscripts(HEARD)
    with pytest.raises(UsageError, match="whisper"):
        evaluate(recognizer, UTTERANCES, normalizer="whisper")
    assert recognizer.asked is None


def test_an_unusable_output_folder_is_refused_before_the_work_begins(tmp_path):
    (tmp_path / "file").touch()
    recognizer = KnownTranscripts(HEARD)
    with pytest.raises(OSError):
        evaluate(recognizer, UTTERANCES, tmp_path / "file")
    assert recognizer.asked is None


def test_totals_on_which_jiwer_disagrees_are_not_reported(monkeypatch):
    monkeypatch.setattr(
        "asr.scoring.score.count_errors_by_hash", lambda *sides: ErrorCounts(correct=3)
    )
    with pytest.raises(ScoringError, match="jiwer counts 2 / 7"):
        evaluate(KnownTranscripts(HEARD), UTTERANCES)


def test_an_id_that_stands_twice_is_refused():
    with pytest.raises(ScoringError, match="'same' stands twice"):
        evaluate(KnownTranscripts(HEARD), [utterance(0, "A", "same"), utterance(1, "B", "same")])


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(ScoringError, match="no utterance"):
        evaluate(KnownTranscripts(HEARD), [])


@pytest.mark.parametrize(
    ("disorder", "complaint"),
    [
        (lambda items: items[::-1], "got the transcript of /audio/2.flac"),
        (lambda items: items[:-1], "2 transcripts came back for 3 utterances"),
        (lambda items: [*items, items[0]], "4 transcripts came back for 3 utterances"),
    ],
)
def test_transcripts_that_do_not_belong_to_the_utterances_are_refused(disorder, complaint):
    class Disordered(KnownTranscripts):
        def transcribe_many(self, paths, **settings):
            yield from disorder(list(super().transcribe_many(paths, **settings)))

    with pytest.raises(ScoringError, match=complaint):
        evaluate(Disordered(HEARD), UTTERANCES)


def test_references_and_hypotheses_are_written_with_their_ids(tmp_path):
    evaluate(KnownTranscripts(ONE_LOST), UTTERANCES, tmp_path / "new" / "out")
    assert (tmp_path / "new/out/references.txt").read_text("utf-8") == (
        "1089-134686-0000 THE CAT SAT\n1089-134686-0001 ON THE MAT\n1089-134686-0002 A\n"
    )
    assert (tmp_path / "new/out/hypotheses.txt").read_text("utf-8") == (
        "1089-134686-0001 ON A MAT UP\n1089-134686-0002 A\n"
    )


def test_ids_with_whitespace_stay_one_word_and_distinct(tmp_path):
    spoken = [utterance(0, "A", "my file"), utterance(1, "A", "my%20file"), utterance(2, "", "é")]
    evaluate(KnownTranscripts(HEARD), spoken, tmp_path)
    lines = (tmp_path / "references.txt").read_text("utf-8").split("\n")
    assert lines == ["my%20file A", "my%2520file A", "é", ""]


def test_every_utterance_has_its_alignment(tmp_path):
    evaluate(KnownTranscripts(ONE_LOST), UTTERANCES[:2], tmp_path)
    assert (tmp_path / "alignments.txt").read_text("utf-8") == (
        "id: 1089-134686-0000 (no hypothesis)\n"
        "Scores: (#C #S #D #I) 0 0 3 0\n"
        "REF:  THE CAT SAT\n"
        "HYP:  *** *** ***\n"
        "EVAL: D   D   D\n"
        "\n"
        "id: 1089-134686-0001\n"
        "Scores: (#C #S #D #I) 2 1 0 1\n"
        "REF:  ON THE MAT **\n"
        "HYP:  ON A   MAT UP\n"
        "EVAL:    S       I\n"
        "\n"
    )


def test_the_figures_and_circumstances_are_recorded(tmp_path):
    recognizer = KnownTranscripts(ONE_LOST, warnings=("1.5 s are missing",))
    evaluate(recognizer, UTTERANCES, tmp_path, model="some/model", manifest="dev.jsonl")
    record = json.loads((tmp_path / "score.json").read_text("utf-8"))
    assert record["wer"] == pytest.approx(5 / 7)
    assert record["words"] == {
        "substitutions": 1,
        "deletions": 3,
        "insertions": 1,
        "correct": 3,
        "errors": 5,
        "reference_length": 7,
    }
    assert (record["utterances"], record["sentence_errors"]) == (3, 2)
    assert record["missing"] == ["1089-134686-0000"]
    assert record["failures"][0]["message"] == "/audio/0.flac is empty"
    assert [warning["message"] for warning in record["warnings"]] == ["1.5 s are missing"] * 2
    assert record["audio_seconds"] == 4.0
    assert (record["model"], record["manifest"]) == ("some/model", "dev.jsonl")
    assert record["normalizer"] == "none (version 1)"
    assert {"asr", "torch", "jiwer"} <= record["versions"].keys()
    assert record["date"].endswith("+00:00")


def test_infinite_rates_leave_the_record_valid_json(tmp_path):
    evaluation = evaluate(KnownTranscripts({"/audio/0.flac": "UM"}), [utterance(0, "")], tmp_path)
    assert evaluation.score.words.rate == math.inf
    assert json.loads((tmp_path / "score.json").read_text("utf-8"))["wer"] is None


def test_an_evaluation_without_any_audio_is_a_whole_one(tmp_path):
    evaluation = evaluate(KnownTranscripts({}), UTTERANCES, tmp_path)
    assert evaluation.score.words == ErrorCounts(deletions=7)
    assert json.loads((tmp_path / "score.json").read_text("utf-8"))["real_time_factor"] is None


def test_writing_again_replaces_its_own_files_and_no_other(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    evaluate(KnownTranscripts(HEARD), UTTERANCES, tmp_path)
    evaluate(KnownTranscripts(HEARD), UTTERANCES[:1], tmp_path)
    assert (tmp_path / "references.txt").read_text("utf-8") == "1089-134686-0000 THE CAT SAT\n"
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 5


def test_a_record_never_stands_beside_files_of_another_evaluation(tmp_path, monkeypatch):
    def fail(alignment):
        raise OSError("disk full")

    evaluate(KnownTranscripts(HEARD), UTTERANCES, tmp_path)
    monkeypatch.setattr(asr.evaluation, "format_alignment", fail)
    with pytest.raises(OSError, match="disk full"):
        evaluate(KnownTranscripts(ONE_LOST), UTTERANCES, tmp_path)
    assert not (tmp_path / "score.json").exists()


def test_the_command_prints_kaldis_line_first_and_succeeds(command, capsys):
    assert command(HEARD) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == "%WER 28.57 [ 2 / 7, 1 ins, 0 del, 1 sub ]"
    assert lines[1].startswith("%CER ")
    assert lines[2] == "%SER 33.33 [ 1 / 3 ]"
    assert "real-time factor" in lines[4]
    assert "model some/model, normalizer none (version 1)" in lines[5]


def test_the_command_writes_into_the_output_folder(command, tmp_path):
    assert command(HEARD, "-o", str(tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "alignments.txt",
        "hypotheses.txt",
        "references.txt",
        "score.json",
    ]


def test_the_command_writes_a_report_with_what_went_wrong(command, tmp_path):
    assert command(ONE_LOST, "--report", str(tmp_path / "report"), warnings=("1 s lost",)) == 1
    figures = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert figures["words"]["deletions"] == 3
    assert figures["title"] == f"some/model on {tmp_path / 'test.jsonl'}"
    assert set(figures["groups"]) == {"speaker", "length", "duration"}
    notes = "\n".join(figures["notes"])
    assert "Failed: 1089-134686-0000: /audio/0.flac is empty" in notes
    assert "Warning: 1089-134686-0001: 1 s lost" in notes
    assert "real-time factor" in notes


def test_a_report_that_cannot_be_written_is_refused_before_the_work_begins(
    command, tmp_path, capsys
):
    (tmp_path / "file").touch()
    assert command(HEARD, "--report", str(tmp_path / "file")) == 1
    assert "%WER" not in capsys.readouterr().out


def test_the_command_fails_when_audio_failed_and_names_it(command, capsys):
    assert command(ONE_LOST) == 1
    captured = capsys.readouterr()
    assert "failed: 1089-134686-0000: /audio/0.flac is empty" in captured.err
    assert "%WER" in captured.out


def test_the_command_repeats_warnings_and_succeeds(command, capsys):
    assert command(HEARD, warnings=("1.5 s are missing",)) == 0
    assert "warning: 1089-134686-0002: 1.5 s are missing" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "code"), [("28.5", 1), ("28.58", 0), ("0", 1), ("100", 0)])
def test_the_gate_sets_the_exit_code(command, limit, code):
    assert command(HEARD, "--max-wer", limit) == code


def test_a_rate_that_equals_the_gate_passes(command):
    spoken = [utterance(0, " ".join(["A"] * 100))]
    heard = {"/audio/0.flac": " ".join(["A"] * 93)}
    assert 100 * (7 / 100) > 7, "the trap that floating point lays"
    assert command(heard, "--max-wer", "7", utterances=spoken) == 0


def test_insertions_into_silence_do_not_pass_the_gate(command):
    heard = {"/audio/0.flac": "UM"}
    assert command(heard, "--max-wer", "500", utterances=[utterance(0, "")]) == 1


@pytest.mark.parametrize(
    "words",
    [("--max-wer", "-1"), ("--max-wer", "nan"), ("--workers", "x"), ("--normalizer", "x")],
)
def test_impossible_options_are_wrong_usage(command, words):
    with pytest.raises(SystemExit) as stopped:
        command(HEARD, *words)
    assert stopped.value.code == 2


def test_a_manifest_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "none.jsonl"), "-m", "some/model"]) == 1
    assert "none.jsonl cannot be read" in capsys.readouterr().err
