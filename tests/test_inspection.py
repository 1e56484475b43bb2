"""Looking inside a model: what is shown is what the model did, and bad input is one sentence."""

import base64
import importlib.util
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.voice import SAMPLE_RATE, speak_tones
from PIL import Image

import asr.windows
from asr.audio import write_flac
from asr.cli import main
from asr.errors import AudioError, UsageError
from asr.inspection import drawing, summarize, trace_audio
from asr.inspection.drawing import draw_trace
from asr.inspection.loudness import find_speech, find_starts, loudness_db
from asr.inspection.memory import half_life_frames, halvings
from asr.inspection.page import build_page
from asr.inspection.posteriors import find_peaks, shown_tokens
from asr.inspection.report import format_summary, summary_figures
from asr.inspection.tally import CurveTally, UnitTally
from asr.inspection.trace import Trace, UnitTrace
from asr.inspection.words import TimedWord, align_words
from asr.manifest import Utterance, write_manifest
from asr.model import build_model
from asr.model_folder import save_model
from asr.recognizer import Recognizer
from asr.tokenizer import CharacterTokenizer, SentencePieceTokenizer
from asr.windows import Chunking

GOLDEN = Path(__file__).parent / "golden" / "model"
TEXT = "DEAD BEEF"
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load(GOLDEN, device="cpu")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    """A recording of two words in tones."""
    path = tmp_path_factory.mktemp("spoken") / "two words.flac"
    write_flac(path, speak_tones(TEXT, 3), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def trace(recognizer, spoken) -> Trace:
    return trace_audio(recognizer, spoken)


@pytest.fixture
def forward_only(tmp_path) -> Path:
    """A model folder with random weights: one direction, reset before, half the frames."""
    config = {
        "features": {"sample_rate": 8000, "n_mels": 20},
        "encoder": {
            "layers": 2,
            "width": 12,
            "channels": 2,
            "subsampling": 2,
            "reset": "before",
            "bidirectional": False,
        },
    }
    tokenizer = CharacterTokenizer(list(" ABCDEFGH"))
    torch.manual_seed(1)
    folder = tmp_path / "forward_only"
    save_model(folder, build_model(config, tokenizer.vocabulary_size), tokenizer, config)
    return folder


@pytest.fixture
def call(capsys):
    """Runs `asr inspect` in this process and gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["inspect", *(str(word) for word in words)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


# What a trace holds


def test_a_trace_has_the_recognizers_own_log_probabilities(recognizer, spoken, trace):
    expected = recognizer.log_probs(spoken)
    torch.testing.assert_close(torch.from_numpy(trace.log_probs), expected, rtol=0, atol=1e-4)


def test_a_trace_has_every_layer_and_direction_over_all_frames(trace):
    names = [(units.layer, units.direction) for units in trace.units]
    assert names == [(1, "forward"), (1, "backward"), (2, "forward"), (2, "backward")]
    for units in trace.units:
        assert units.update.shape == units.reset.shape == units.state.shape
        assert len(units.update) == len(trace.log_probs) == len(trace.speech)
        assert np.abs(units.state).max() <= 1
        assert 0 <= units.update.min() <= units.update.max() <= 1


def test_the_states_are_what_the_gru_returned(recognizer, spoken, trace):
    outputs = []
    handles = [
        layer.gru.register_forward_hook(lambda module, given, result: outputs.append(result[0][0]))
        for layer in recognizer.model.encoder.layers
    ]
    recognizer.log_probs(spoken)
    for handle in handles:
        handle.remove()
    sides = [side.numpy() for output in outputs for side in output.chunk(2, dim=1)]
    for units, side in zip(trace.units, sides, strict=True):
        np.testing.assert_allclose(units.state, side, atol=1e-4)


def test_a_long_recording_is_joined_from_its_windows(recognizer, spoken, trace, monkeypatch):
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(1.2, 0.3))
    windowed = trace_audio(recognizer, spoken)
    # The recognizer would join windows in a pause, the trace does in the middle.
    monkeypatch.setattr(asr.windows, "find_pause", lambda before, behind: len(before) // 2)
    expected = recognizer.log_probs(spoken).numpy()
    np.testing.assert_allclose(windowed.log_probs, expected, atol=1e-4)
    for units, whole in zip(windowed.units, trace.units, strict=True):
        assert units.state.shape == whole.state.shape
        # Windows change a little and order or gaps would change all.
        assert np.abs(units.state - whole.state).mean() < 0.05


def test_tracing_leaves_nothing_behind_in_the_model(recognizer, trace):
    assert not any(module._forward_hooks for module in recognizer.model.modules())


def test_a_frame_has_its_middle_where_the_convolutions_have_it(trace):
    assert trace.frame_seconds == 2 * trace.hop_seconds == pytest.approx(0.02)
    assert trace.seconds(0) == pytest.approx(0.005)
    assert trace.seconds(10) == pytest.approx(0.205)


def test_audio_without_a_frame_is_refused(recognizer, tmp_path):
    write_flac(tmp_path / "short.flac", np.zeros(30, dtype=np.float32), SAMPLE_RATE)
    with pytest.raises(AudioError, match="expected a feature frame or more, 10 ms"):
        trace_audio(recognizer, tmp_path / "short.flac")


def test_audio_too_long_for_a_picture_is_refused(recognizer, spoken):
    with pytest.raises(AudioError, match="cut out the part"):
        trace_audio(recognizer, spoken, most_seconds=0.5)


# Words


def test_the_words_are_the_transcript(recognizer, spoken, trace):
    words = " ".join(word.text for word in trace.words)
    assert words == recognizer.transcribe(spoken).text == TEXT


def path_of(tokens: list[int], vocabulary: int) -> torch.Tensor:
    """Make log-probabilities whose best path is given."""
    return torch.log_softmax(
        20.0 * torch.nn.functional.one_hot(torch.tensor(tokens), vocabulary), 1
    )


def test_a_word_lasts_from_its_first_to_its_last_token():
    tokenizer = CharacterTokenizer([" ", "A", "B"])
    path = path_of([0, 1, 2, 2, 0, 2, 1, 0, 2, 3, 0], 4)
    assert align_words(path, tokenizer) == (TimedWord("AA", 2, 5), TimedWord("AB", 8, 9))


def test_pieces_of_words_are_joined_as_sentencepiece_joins_them():
    texts = ["ONE TWO THREE", "TWO ONE", "THREE FOUR FIVE", "ONTO FIVE", "WON TOO"]
    tokenizer = SentencePieceTokenizer.train(texts, 20)
    ids = tokenizer.encode("THREE ONTO FIVE")
    frames = [token for index in ids for token in (index, 0)]
    words = align_words(path_of(frames, tokenizer.vocabulary_size), tokenizer)
    assert [word.text for word in words] == ["THREE", "ONTO", "FIVE"]
    assert words[0].first in (0, 2)
    assert all(a.last < b.first for a, b in pairwise(words))


def test_a_token_stands_where_it_is_most_probable():
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.95, 0.05]], dtype=np.float32)
    [peak] = find_peaks(chances)
    assert (peak.token, peak.frame) == (1, 2)
    assert shown_tokens(chances) == [1]
    assert shown_tokens(chances[3:]) == []


# Speech, memory


def test_speech_is_what_is_louder_than_the_middle():
    decibels = np.r_[np.full(30, -60.0), np.full(50, -10.0), np.full(30, -60.0)]
    speech = find_speech(decibels, 0.01)
    assert speech.nonzero()[0].tolist() == list(range(30, 80))
    assert find_starts(speech, 0.01) == [30]


def test_a_short_gap_within_speech_is_speech():
    decibels = np.r_[np.full(40, -10.0), np.full(10, -60.0), np.full(40, -10.0), np.full(30, -60)]
    assert find_speech(decibels, 0.01).sum() == 90


def test_even_sound_is_speech_throughout():
    assert find_speech(np.full(20, -30.0), 0.01).all()


def test_loudness_adds_the_power_of_all_bands():
    assert loudness_db(np.log(np.full((1, 4), 0.25)))[0] == pytest.approx(0, abs=1e-6)
    assert loudness_db(np.log(np.full((1, 4), 25.0)))[0] == pytest.approx(20)


@pytest.mark.parametrize(
    ("update", "frames"),
    [
        ([1 - 2 ** (-1 / 10)] * 40, 10),
        ([0.5] * 40, 1),
        ([1.0] * 40, 1),
        ([1.0] + [0.0] * 39, 40),
        ([0.0] * 40, np.inf),
    ],
)
def test_the_half_life_is_that_of_the_product_of_the_gates(update, frames):
    values = halvings(np.array(update)[:, None])
    assert half_life_frames(values.mean(axis=0))[0] == pytest.approx(frames)


# Summaries


def made_up(update: np.ndarray, reset: np.ndarray, state: np.ndarray) -> UnitTrace:
    return UnitTrace(1, "forward", *(a.astype(np.float32) for a in (update, reset, state)))


def test_tallies_add_up_as_a_plain_mean_does():
    draw = np.random.default_rng(1)
    tally = UnitTally(1, "forward", CurveTally(2, 3), CurveTally(2, 3))
    rows: dict[str, list[np.ndarray]] = {"update": [], "speech": [], "move": []}
    around: list[np.ndarray] = []
    for frames in (9, 12):
        update, reset = draw.random((2, frames, 3))
        state = np.tanh(draw.normal(size=(frames, 3)))
        speech = draw.random(frames) < 0.5
        tally.add(made_up(update, reset, state), speech, [1, 5], [])
        rows["update"].append(update)
        rows["speech"].append(speech)
        rows["move"].append(np.abs(np.diff(state, axis=0))[speech[1:]])
        around += [update[1 + 1], update[5 + 1]]
    update, speech = np.concatenate(rows["update"]), np.concatenate(rows["speech"])
    assert tally.mean_gate("update", tally.speech) == pytest.approx(update[speech].mean())
    assert tally.mean_gate("update", tally.silence) == pytest.approx(update[~speech].mean())
    assert tally.mean_move(tally.speech) == pytest.approx(np.concatenate(rows["move"]).mean())
    extreme = ((update < 0.05) | (update > 0.95)).mean(axis=0)
    np.testing.assert_allclose(tally.extreme_shares("update"), extreme)
    np.testing.assert_allclose(tally.words.means()[3], np.mean(around, axis=0), rtol=1e-6)
    # The second frame has but one frame before it.
    assert tally.words.counts.tolist() == [2, 4, 4, 4, 4]
    assert np.isnan(tally.starts.means()).all()


def test_a_unit_whose_state_stands_still_has_no_deviation():
    tally = UnitTally(1, "forward", CurveTally(1, 2), CurveTally(1, 2))
    state = np.stack([np.full(50, 0.7), np.linspace(-1, 1, 50)], axis=1)
    gates = np.full((50, 2), 0.5)
    tally.add(made_up(gates, gates, state), np.ones(50, dtype=bool), [], [])
    still, moving = tally.deviations()
    assert still == pytest.approx(0, abs=1e-6)
    assert moving == pytest.approx(np.linspace(-1, 1, 50).std())
    assert np.isnan(tally.mean_gate("update", tally.silence))


def test_what_cannot_be_read_is_left_out_and_named(recognizer, spoken, tmp_path):
    utterances = [Utterance("good", str(spoken), 1.0, TEXT), Utterance("gone", "/no.flac", 1.0, "")]
    summary = summarize(recognizer, utterances)
    assert summary.recordings == 1
    assert [item.id for item in summary.left_out] == ["gone"]
    assert "left out: 1 of 2 recordings: gone" in format_summary(summary)
    with pytest.raises(AudioError, match="none of the 1 recordings"):
        summarize(recognizer, utterances[1:])


def test_the_units_of_the_longest_memory_are_shown_apart(recognizer, spoken, trace):
    summary = summarize(recognizer, [Utterance("a", str(spoken), 1.0, TEXT)])
    onsets = [word.first for word in trace.words]
    for found, units in zip(summary.units, trace.units, strict=True):
        longest = np.argsort(units.half_lives())[-units.update.shape[1] // 4 :]
        middle = len(found.words.seconds) // 2
        expected = units.update[onsets][:, longest].mean()
        assert found.words.lasting[middle] == pytest.approx(expected, rel=1e-5)
        assert found.words.mean[middle] == pytest.approx(units.update[onsets].mean(), rel=1e-5)


def test_the_figures_of_a_summary_are_json_and_say_whose_times_they_are(recognizer, spoken):
    summary = summarize(recognizer, [Utterance("a", str(spoken), 1.0, TEXT)])
    figures = json.loads(json.dumps(summary_figures(summary), allow_nan=False))
    assert len(figures["layers"]) == 4
    assert figures["layers"][0]["word_onsets"]["onsets"] == figures["words"] == 2
    assert "not true times" in figures["word_times"]
    assert "not true times" in format_summary(summary)


# Pictures


class Names(HTMLParser):
    """Collects what a page would load, and its choices."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.choices: list[str] = []
        self.hidden: dict[str, bool] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.sources += [str(found[key]) for key in ("src", "href") if key in found]
        if tag == "option":
            self.choices.append(str(found["value"]))
        if found.get("class") == "units":
            self.hidden[str(found["id"])] = "hidden" in found


def test_the_page_needs_nothing_but_itself(trace):
    page = build_page(trace, trace.units[2])
    names = Names()
    names.feed(page)
    assert names.sources
    assert all(source.startswith("data:image/png;base64,") for source in names.sources)
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_page_reaches_every_layer_and_direction_and_shows_the_chosen_one(trace):
    names = Names()
    names.feed(build_page(trace, trace.units[3]))
    assert names.choices == list(names.hidden)
    assert names.choices == [f"layer{n}-{way}" for n in (1, 2) for way in ("forward", "backward")]
    assert [name for name, hidden in names.hidden.items() if not hidden] == ["layer2-backward"]


def test_the_pixels_of_the_page_are_the_gates(trace):
    names = Names()
    names.feed(build_page(trace, trace.units[0]))
    # The spectrum comes first, then update, reset and state of the first layer and direction.
    data = base64.b64decode(names.sources[1].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    units = trace.units[0]
    order = np.argsort(units.half_lives(), kind="stable")
    np.testing.assert_array_equal(pixels[::-1], np.rint(255 * units.update[:, order].T))


def test_words_cannot_break_the_page(trace):
    evil = "</script><b>&$title"
    fields = {**vars(trace), "words": (TimedWord(evil, 3, 3),)}
    page = build_page(Trace(**fields), trace.units[0])
    assert evil not in page
    assert page.count("</script>") == 1
    assert "&lt;/script&gt;&lt;b&gt;&amp;$title" in page


def test_a_long_recording_becomes_several_pictures(trace, monkeypatch):
    monkeypatch.setattr(drawing, "PICTURE_SECONDS", 0.6)
    # Dollar signs would be read as mathematics.
    fields = {**vars(trace), "words": (TimedWord("$A$ _^", 3, 3), *trace.words)}
    pictures = list(draw_trace(Trace(**fields), trace.units[0]))
    widths = {Image.open(io.BytesIO(picture)).width for picture in pictures}
    assert len(pictures) == 3
    assert len(widths) == 1


# The command line


def test_the_verb_writes_the_chosen_picture_and_the_page(call, spoken, tmp_path):
    (tmp_path / "mine.txt").write_text("stays")
    code, out, err = call(
        spoken, "-m", GOLDEN, "-o", tmp_path, "--layer", 1, "--direction", "backward"
    )
    assert code == 0
    assert "not true times" in err
    names = {"mine.txt", "two words.html", "two words.layer1-backward.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert out.splitlines() == [
        str(tmp_path / "two words.html"),
        str(tmp_path / "two words.layer1-backward.png"),
    ]
    assert 'value="layer1-backward" selected' in (tmp_path / "two words.html").read_text()


def test_one_direction_and_reset_before_are_drawn_as_well(call, forward_only, spoken, tmp_path):
    code, out, _ = call(spoken, "-m", forward_only, "-o", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[1].endswith("layer2-forward.png")


def test_the_summary_goes_on_without_a_broken_recording(call, spoken, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    manifest = tmp_path / "list.jsonl"
    broken = Utterance("bad one", str(tmp_path / "broken.wav"), 1.0, "A")
    write_manifest(manifest, [broken, Utterance("good one", str(spoken), 1.0, TEXT)])
    code, out, err = call("--summary", manifest, "-m", GOLDEN, "-o", tmp_path / "out")
    assert code == 1
    assert "left out: bad one:" in err
    assert "left out: 1 of 2 recordings: bad one" in out
    figures = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert figures["recordings"] == 1
    assert (tmp_path / "out" / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_a_summary_without_words_or_pauses_is_drawn(call, forward_only, tmp_path):
    write_flac(tmp_path / "even.flac", np.zeros(4000, dtype=np.float32), SAMPLE_RATE)
    manifest = tmp_path / "list.jsonl"
    write_manifest(manifest, [Utterance("even", str(tmp_path / "even.flac"), 0.5, "")])
    code, out, _ = call("--summary", manifest, "-m", forward_only, "-o", tmp_path / "out")
    assert code == 0
    assert "starts of speech after a pause: nothing to show" in out
    figures = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert figures["layers"][0]["update"]["silence"] is None


@pytest.mark.parametrize(
    ("words", "complaint", "expected"),
    [
        (["AUDIO", "--layer", "3"], "there is no layer 3; the model has layers 1 to 2", 2),
        (["AUDIO", "--layer", "0"], "there is no layer 0; the model has layers 1 to 2", 2),
        (["AUDIO", "--direction", "backward"], "no direction 'backward' in this model", 2),
        ([], "either one recording, AUDIO, or --summary MANIFEST", 2),
        (["AUDIO", "--summary", "x.jsonl"], "either one recording", 2),
        (["--summary", "x.jsonl", "--layer", "1"], "leave them out", 2),
        (["/no/such.flac"], "/no/such.flac", 1),
    ],
)
def test_bad_input_is_one_sentence(
    words, complaint, expected, call, forward_only, spoken, tmp_path
):
    words = [str(spoken) if word == "AUDIO" else word for word in words]
    code, out, err = call(*words, "-m", forward_only, "-o", tmp_path / "out")
    assert code == expected
    assert out == ""
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_a_missing_matplotlib_is_named_before_any_work(call, spoken, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "asr.inspection.drawing.find_spec",
        lambda name: None if name == "matplotlib" else found(name),
    )
    code, _, err = call(spoken, "-m", "/no/model", "-o", tmp_path / "out")
    assert code == 2
    assert "needs matplotlib, which is not installed: pip install matplotlib" in err
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_gru_has_no_gates(recognizer, spoken, monkeypatch):
    monkeypatch.setattr(recognizer.model.encoder, "modules", lambda: iter(()))
    with pytest.raises(UsageError, match="no GRU layer"):
        trace_audio(recognizer, spoken)
