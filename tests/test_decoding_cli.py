"""Decoding as users call it: language models, phrases, n-best, alignment, tuning."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from golden.voice import SAMPLE_RATE, speak_tones

from asr.audio import write_flac
from asr.cli import main
from asr.lm.ngram_training import NGramOptions, train_ngram
from asr.manifest import Utterance, write_manifest
from asr.posteriors import iterate_log_probs
from asr.recognizer import Recognizer
from asr.scoring.timed import read_ctm

GOLDEN = Path(__file__).parent / "golden"
MODEL = str(GOLDEN / "model")
TEXTS = ["ABC", "DEAD BEEF", "FACE A CAGE", "GAG", "EDGED BADGE", "A CAB"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Recordings with a manifest, and a language model of their texts."""
    folder = tmp_path_factory.mktemp("decoding")
    utterances = []
    for seed, text in enumerate(TEXTS):
        waveform = speak_tones(text, seed)
        path = folder / f"u{seed}.flac"
        write_flac(path, waveform, SAMPLE_RATE)
        seconds = len(waveform) / SAMPLE_RATE
        utterances.append(Utterance(f"u{seed}", str(path), seconds, text, f"s{seed % 2}"))
    write_manifest(folder / "dev.jsonl", utterances)
    (folder / "text.txt").write_text("\n".join(TEXTS * 3) + "\n")
    train_ngram(
        [folder / "text.txt"], folder / "lm.bin", NGramOptions(order=2, fallback=(0.5, 1.0, 1.5))
    )
    return folder


@pytest.fixture
def call(capsys):
    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_language_model_and_several_hypotheses(call, place):
    code, out, _ = call(
        *("transcribe", place / "u1.flac", "-m", MODEL, "-q", "-f", "json"),
        *("--lm", place / "lm.bin", "--lm-weight", 0.4, "--insertion-bonus", 0.2, "--nbest", 3),
    )
    assert code == 0
    document = json.loads(out)
    assert document["text"] == "DEAD BEEF"
    assert document["decoder"] == "beam 16, lm lm.bin * 0.4, bonus 0.2"
    [stretch] = document["nbest"]
    assert len(stretch["hypotheses"]) == 3
    assert stretch["hypotheses"][0]["text"] == document["text"]
    scores = [each["score"] for each in stretch["hypotheses"]]
    assert scores == sorted(scores, reverse=True)
    words = [word for segment in document["segments"] for word in segment["words"]]
    assert [word["word"] for word in words] == ["DEAD", "BEEF"]
    assert all(0 <= word["probability"] <= 1 for word in words)


def test_phrases_and_rescoring_reach_the_text(call, place, tmp_path):
    (tmp_path / "hot.txt").write_text("GAH\t20\n")
    code, out, _ = call(
        *("transcribe", place / "u3.flac", "-m", MODEL, "-q"),
        *("--hotwords", tmp_path / "hot.txt", "--token-threshold", 40, "--beam-threshold", 60),
    )
    # A weight that leaves the sound no say.
    assert code == 0
    assert "GAH" in out.split()
    code, out, _ = call(
        *("transcribe", place / "u3.flac", "-m", MODEL, "-q", "-f", "json"),
        *("--rescore-lm", place / "lm.bin", "--rescore-weight", 0.3),
    )
    document = json.loads(out)
    assert document["text"] == "GAG"
    assert document["decoder"] == "beam 16, rescored by lm.bin * 0.3, bonus 1.5"


def test_evaluation_decodes_alike_and_reports_calibration(call, place, tmp_path):
    code, out, _ = call(
        *("evaluate", place / "dev.jsonl", "-m", MODEL, "--lm", place / "lm.bin"),
        *("--beam", 8, "--report", tmp_path / "report"),
    )
    assert code == 0
    assert "%WER 0.00" in out
    assert "decoder beam 8, lm lm.bin * 0.3, bonus 1.5" in out
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["calibration"]["words"] == sum(len(text.split()) for text in TEXTS)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--beam", "0"], "the beam size is 0; expected 1 or more"),
        (["--nbest", "0"], "0 hypotheses are asked for; expected 1 up to the beam size, 16"),
        (["--nbest", "17"], "17 hypotheses are asked for"),
        (["--lm-weight", "1"], "--lm-weight needs a language model"),
        (["--hotword-weight", "1"], "--hotword-weight weighs phrases"),
        (["--rescore-weight", "1"], "--rescore-weight weighs a second model"),
        (["--lm", "nowhere.bin"], "no language model nowhere.bin"),
    ],
)
def test_options_that_do_not_go_together_are_refused(call, place, flags, complaint):
    code, _, err = call("transcribe", place / "u0.flac", "-m", MODEL, *flags)
    assert code in (2, 3)
    assert complaint in err


def test_every_way_to_search_finds_the_same(call, place, tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "hot.txt").write_text("CAGE\n")
    base = ("evaluate", place / "dev.jsonl", "-m", MODEL, "--lm", place / "lm.bin")
    found = {}
    for way in ("auto", "compiled", "plain", "batched"):
        folder = tmp_path / way
        flags = ("--hotwords", tmp_path / "hot.txt", "--search", way, "-o", folder)
        assert call(*base, *flags)[0] == 0
        found[way] = (folder / "hypotheses.txt").read_text()
    assert len(set(found.values())) == 1
    path = place / "u1.flac"
    documents = []
    for way in ("plain", "batched"):
        flags = ("--nbest", 3, "--search", way, "-f", "json", "-q")
        documents.append(json.loads(call("transcribe", path, "-m", MODEL, *flags)[1]))
    assert documents[0]["segments"] == documents[1]["segments"]
    stretches = zip(documents[0]["nbest"], documents[1]["nbest"], strict=True)
    for one, other in stretches:
        for first, second in zip(one["hypotheses"], other["hypotheses"], strict=True):
            assert first["text"] == second["text"]
            assert first["score"] == pytest.approx(second["score"], abs=1e-6)


def test_another_decoder_is_another_run_for_skip_existing(call, place, tmp_path):
    base = ("transcribe", place / "u0.flac", "-m", MODEL, "-o", tmp_path / "out", "--skip-existing")
    assert call(*base)[0] == 0
    assert "1 inputs were done already" in call(*base)[2]
    assert "0 inputs were done already" in call(*base, "--beam", "4")[2]


@pytest.mark.parametrize("batch_seconds", [0.1, 100.0])
def test_files_are_encoded_in_batches_as_they_are_alone(place, tmp_path, batch_seconds):
    recognizer = Recognizer.load(MODEL)
    paths = [str(place / f"u{number}.flac") for number in range(len(TEXTS))]
    (tmp_path / "broken.flac").write_bytes(b"fLaC but not for long")
    paths.insert(2, str(tmp_path / "broken.flac"))
    found = list(iterate_log_probs(recognizer, paths, batch_seconds=batch_seconds, workers=1))
    assert isinstance(found[2], str)
    assert "broken.flac" in found[2]
    for path, rows in zip(paths, found, strict=True):
        if not isinstance(rows, str):
            np.testing.assert_allclose(rows, recognizer.log_probs(path), atol=1e-5, rtol=1e-5)


# Alignment


def test_words_and_tokens_of_a_file_are_aligned_in_every_format(call, place, tmp_path):
    base = ("align", place / "u1.flac", "DEAD BEEF", "-m", MODEL)
    code, out, _ = call(*base)
    assert code == 0
    (tmp_path / "words.ctm").write_text(out)
    timed = read_ctm(tmp_path / "words.ctm", {})
    assert timed.texts == {"u1": "DEAD BEEF"}
    document = json.loads(call(*base, "-f", "json")[1])
    assert [each["token"] for each in document["tokens"]] == list("DEAD BEEF")
    for (start, duration), word in zip(timed.word_times["u1"], document["words"], strict=True):
        assert start == pytest.approx(word["start"], abs=2e-3)
        assert start + duration == pytest.approx(word["end"], abs=2e-3)
        inside = [
            each
            for each in document["tokens"]
            if word["start"] - 0.01 <= each["start"] and each["end"] <= word["end"] + 0.01
        ]
        assert "".join(each["token"] for each in inside).strip() == word["word"]
    code, out, _ = call(*base, "-f", "textgrid")
    assert 'name = "words"' in out
    assert 'name = "tokens"' in out


def test_a_manifest_is_aligned_and_what_cannot_be_is_named_and_counted(call, place, tmp_path):
    lines = (place / "dev.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    entries[1]["text"] = "A" * 500
    entries[2]["text"] = ""
    entries[3]["text"] = "XYZ"
    entries[4]["audio_filepath"] = "nowhere.flac"
    manifest = tmp_path / "some.jsonl"
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    code, _, err = call("align", manifest, "-m", MODEL, "-o", tmp_path / "out", "-f", "textgrid")
    assert code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"u0.TextGrid", "u5.TextGrid"}
    assert "the text has 500 tokens and needs 999 frames" in err
    assert "the text is empty; expected the words that are said" in err
    assert "character 'X'" in err
    assert "nowhere.flac" in err
    assert "4 of 6 recordings were not aligned" in err


def test_a_text_file_will_do_and_what_makes_no_sense_is_refused(call, place, tmp_path):
    (tmp_path / "said.txt").write_text("abc\n")
    code, out, _ = call(
        *("align", place / "u0.flac", tmp_path / "said.txt", "-m", MODEL),
        *("--normalizer", "librispeech"),
    )
    assert (code, out.split()[4]) == (0, "ABC")
    for words, complaint in (
        (("align", place / "u0.flac", "-m", MODEL), "what is said in"),
        (("align", place / "u0.flac", "no.txt", "-m", MODEL), "there is no text file no.txt"),
        (("align", place / "dev.jsonl", "A", "-m", MODEL), "has its own texts"),
        (("align", place / "dev.jsonl", "-f", "textgrid", "-m", MODEL), "do not make one file"),
    ):
        code, _, err = call(*words)
        assert code == 2
        assert complaint in err


# Tuning


@pytest.fixture
def model(tmp_path):
    shutil.copytree(MODEL, tmp_path / "model")
    return tmp_path / "model"


def options_of(model: Path) -> dict:
    return yaml.safe_load((model / "config.yaml").read_text())["decoder"]


def test_tuning_writes_weights_that_transcription_uses(call, place, model):
    before = (model / "model.safetensors").read_bytes()
    base = ("tune", place / "dev.jsonl", "-m", model, "--lm", place / "lm.bin")
    code, out, err = call(*base)
    assert code == 0
    assert "round 1: LM weight 0, bonus 0: " in out
    assert "WER in %: LM weight downward" in out
    options = options_of(model)
    assert f"lm_weight {options['lm_weight']:g}, insertion_bonus" in out
    assert (model / "model.safetensors").read_bytes() == before
    place_of_tuning = model.with_name("model-tuning")
    assert (place_of_tuning / "tuning.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((place_of_tuning / "tuning.json").read_text())
    assert figures["lm_weight"] == options["lm_weight"]
    # The second time no recording is encoded.
    assert "encoding" in err
    code, again, err = call(*base)
    assert code == 0
    assert "encoding" not in err
    assert again.splitlines()[0] == out.splitlines()[0]
    code, out, _ = call(
        *("transcribe", place / "u1.flac", "-m", model, "-q", "-f", "json"),
        *("--lm", place / "lm.bin"),
    )
    assert f"lm lm.bin * {options['lm_weight']:g}" in json.loads(out)["decoder"]


def test_the_sum_of_rivals_is_tuned_kept_and_told(call, place, model):
    code, out, err = call("tune", place / "dev.jsonl", "-m", model)
    assert code == 0, err
    # Nothing is wrong, so nothing is changed.
    assert "WER in % by the sum below which two neighbouring tokens are one: 0: 0.00*" in out
    assert options_of(model)["rivals_below"] == 0
    # Whoever names a sum has it written instead.
    assert call("tune", place / "dev.jsonl", "-m", model, "--rivals-below", 1.25)[0] == 0
    assert options_of(model)["rivals_below"] == 1.25
    transcribe = ("transcribe", place / "u1.flac", "-m", model, "-q", "-f", "json")
    for flags, name in (
        ((), "greedy, rivals below 1.25"),
        (("--rivals-below", 0), "greedy"),
        (("--beam", 4), "beam 4, rivals below 1.25"),
    ):
        code, out, _ = call(*transcribe, *flags)
        document = json.loads(out)
        assert (code, document["decoder"], document["text"]) == (0, name, "DEAD BEEF")
    code, _, err = call(*transcribe, "--rivals-below", 3)
    assert code == 2
    assert "expected a sum of two probabilities, 0 to 2" in err


def test_weights_of_phrases_and_of_rescoring_are_tuned_too(call, place, model, tmp_path):
    assert call("tune", place / "dev.jsonl", "-m", model, "--tune-hotwords")[0] == 2
    (tmp_path / "hot.txt").write_text("CAGE\nGAH\t5\n")
    code, out, err = call(
        *("tune", place / "dev.jsonl", "-m", model, "--rescore-lm", place / "lm.bin"),
        *("--hotwords", tmp_path / "hot.txt", "--tune-hotwords"),
    )
    assert code == 0, err
    assert "WER in % by weight of phrases: 0.05" in out
    assert "WER in % by weight of the rescoring model: 0: " in out
    options = options_of(model)
    assert f"{options['rescoring_weight']:g}: 0.00*" in out
    code, out, _ = call(
        *("transcribe", place / "u3.flac", "-m", model, "-q", "-f", "json"),
        *("--rescore-lm", place / "lm.bin"),
    )
    assert f"lm.bin * {options['rescoring_weight']:g}" in json.loads(out)["decoder"]


def test_tuning_on_a_test_set_is_refused(call, place, model, tmp_path):
    manifest = tmp_path / "test-clean.jsonl"
    manifest.write_bytes((place / "dev.jsonl").read_bytes())
    config = (model / "config.yaml").read_bytes()
    code, _, err = call("tune", manifest, "-m", model)
    assert code == 2
    assert "is named as a test set" in err
    assert (model / "config.yaml").read_bytes() == config
    assert call("tune", manifest, "-m", model, "--allow-test", "--dry-run")[0] == 0
    assert (model / "config.yaml").read_bytes() == config


def test_true_word_times_fit_the_offset(call, place, model, tmp_path):
    lines = []
    for number in range(len(TEXTS)):
        _, out, _ = call("align", place / f"u{number}.flac", TEXTS[number], "-m", model)
        for line in out.splitlines():
            name, channel, start, duration, word, _ = line.split()
            lines.append(f"{name} {channel} {float(start) + 0.1:.3f} {duration} {word}\n")
    (tmp_path / "true.ctm").write_text("".join(lines))
    code, out, _ = call(
        "tune", place / "dev.jsonl", "-m", model, "--word-times", tmp_path / "true.ctm"
    )
    assert code == 0
    assert "word times: reach 120 ms, offset +100 ms; with them median error" in out
    assert options_of(model)["word_offset_seconds"] == pytest.approx(0.1, abs=1e-3)
    found = call(
        "evaluate", place / "dev.jsonl", "-m", model, "--word-times", tmp_path / "true.ctm"
    )
    assert "starts 0 ms, 100.0 % within 100 ms" in found[1]
    (tmp_path / "empty.ctm").write_text("")
    code, out, err = call(
        "evaluate", place / "dev.jsonl", "-m", model, "--word-times", tmp_path / "empty.ctm"
    )
    # It is told before anything is transcribed.
    assert (code, out) == (2, "")
    assert "empty.ctm hold no word; expected ctm" in err
