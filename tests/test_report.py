"""The report of a score: what is written says what was counted, and no text can break it."""

import csv
import hashlib
import json
import re
import shutil
from base64 import b64encode
from html.parser import HTMLParser

import numpy as np
import pytest
from reports import HYPOTHESES, NAMES, REFERENCES, SCORE, write

from asr.audio import write_flac
from asr.scoring.alignment import align
from asr.scoring.calibration import calibrate
from asr.scoring.details import Details


@pytest.fixture
def report(tmp_path):
    """Writes a report and gives its folder."""

    def run(*words, **more):
        assert write(tmp_path / "out", *words, **more)
        return tmp_path / "out"

    return run


class Page(HTMLParser):
    """A page's elements and the text that stands in each kind of them."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.text_in, self.path = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.path.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.path, f"</{tag}> ends nothing"
        assert self.path.pop() == tag

    def handle_data(self, text):
        if self.path:
            key = self.path[-1]
            attributes = next(found for tag, found in reversed(self.opened) if tag == key)
            self.text_in.setdefault(attributes.get("id", key), []).append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.opened if name == tag]


def read_page(folder):
    page = Page((folder / "report.html").read_text("utf-8"))
    (data,) = page.text_in["data"]
    return page, json.loads(data)


def test_every_file_is_written(tmp_path):
    assert write(tmp_path) == NAMES
    assert {path.name for path in tmp_path.iterdir()} == NAMES


def test_the_json_holds_the_counts_of_the_score(report):
    figures = json.loads((report(notes=["A note."]) / "report.json").read_text("utf-8"))
    assert figures["words"]["errors"] == SCORE.words.errors
    assert figures["wer"] == SCORE.words.rate
    assert figures["missing"] == ["19-b-0001"]
    assert figures["notes"][0] == "A note."
    assert [each["id"] for each in figures["utterances"]] == list(REFERENCES)
    for each, utterance in zip(figures["utterances"], SCORE.utterances, strict=True):
        assert each["reference"] == utterance.reference
        assert [tuple(step) for step in each["alignment"]] == list(utterance.align().operations)
        assert each["words"]["reference_length"] == utterance.words.words
    assert figures["utterances"][1]["wer"] is None  # infinite


def test_the_csv_has_one_row_an_utterance_with_its_counts(report):
    with (report() / "report.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reference"] for row in rows] == list(REFERENCES.values())
    assert [row["missing"] for row in rows] == ["0", "0", "0", "1", "0"]
    assert rows[1]["wer"] == "inf"
    for kind in ("substitutions", "deletions", "insertions", "correct"):
        assert sum(int(row[kind]) for row in rows) == getattr(SCORE.words, kind)


def test_the_page_holds_the_counts_of_the_score(report):
    page, data = read_page(report())
    for entry, utterance in zip(data["utterances"], SCORE.utterances, strict=True):
        words = utterance.words
        assert entry["n"] == [
            *(words.substitutions, words.deletions, words.insertions, words.correct)
        ]
        assert entry["i"] == utterance.id
    kaldi = next(text for text in page.text_in["p"] if "%WER" in text)
    assert kaldi.startswith(f"%WER {100 * SCORE.words.rate:.2f} [ {SCORE.words.errors} / ")


def test_the_page_can_tell_both_texts_from_its_alignments(report):
    _, data = read_page(report())

    def side(entry, which):
        return " ".join(
            step if isinstance(step, str) else step[which]
            for step in entry["a"]
            if isinstance(step, str) or step[which]
        )

    texts = {entry["i"]: (side(entry, 0), side(entry, 1)) for entry in data["utterances"]}
    for identity, reference in REFERENCES.items():
        hypothesis = HYPOTHESES.get(identity, "")
        assert texts[identity] == (" ".join(reference.split()), " ".join(hypothesis.split()))


def test_a_transcript_that_closes_a_script_does_no_harm(report):
    page, data = read_page(report())
    assert len(page.all("script")) == 2
    assert "alert" in json.dumps(data)
    assert not any("alert(" in text for text in page.text_in["script"])
    assert page.path == []


def test_a_browser_runs_only_the_page_s_own_script_and_loads_nothing(report):
    page, _ = read_page(report())
    policy = next(
        found["content"]
        for found in page.all("meta")
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    for kind in ("script", "style"):
        digest = hashlib.sha256("".join(page.text_in[kind]).encode()).digest()
        assert f"{kind}-src 'sha256-{b64encode(digest).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = (page.opened, page.text_in["style"], page.text_in["script"])
    assert not re.search(r"https?://", str(text))
    assert not [found for _, found in page.opened if "style" in found or "onclick" in found]


def test_every_control_has_a_label_and_every_reference_a_target(report):
    page, _ = read_page(report())
    ids = [found["id"] for _, found in page.opened if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["href"][1:] for found in page.all("a")} <= set(ids)
    for _, found in page.opened:
        assert set(found.get("aria-labelledby", "").split()) <= set(ids)
    text = page.text_in
    assert {"text", "kind", "sort"} <= set(ids)
    assert len(text["label"]) >= 3


def test_only_recordings_that_exist_can_be_played(report, tmp_path):
    names = ("beside it/a b.flac", "out/within.flac", "missing.flac")
    for name in names[:2]:
        write_flac(tmp_path / name, np.zeros(100, np.float32), 16000)
    elsewhere = tmp_path.parent / f"{tmp_path.name} else#where.flac"
    shutil.copy(tmp_path / names[0], elsewhere)
    paths = [*(str(tmp_path / name) for name in names), str(elsewhere)]
    _, data = read_page(report(Details(audio=dict(zip(REFERENCES, paths, strict=False)))))
    addresses = [entry.get("u") for entry in data["utterances"]]
    assert addresses[:3] == ["../beside%20it/a%20b.flac", "within.flac", None]
    assert addresses[3].startswith("file:///")
    assert addresses[3].endswith("else%23where.flac")
    assert addresses[4] is None


def test_buttons_narrow_the_list_to_what_occurs_in_it(report):
    page, data = read_page(report())
    buttons = [found for found in page.all("button") if "data-by" in found]
    speakers = {found["data-only"] for found in buttons if found["data-by"] == "speaker"}
    assert speakers == set(data["speakers"]) == {"7", "19"}
    errors = [json.loads(found["data-only"]) for found in buttons if found["data-by"] == "error"]
    steps = [step for entry in data["utterances"] for step in entry["a"]]
    assert len(errors) == 7
    assert all(error in steps for error in errors)


def test_a_report_that_fails_leaves_no_json_of_an_older_one(report, monkeypatch):
    folder = report()
    monkeypatch.setattr("asr.scoring.report_folder.write_csv", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report()
    assert {path.name for path in folder.iterdir()} == NAMES - {"report.json"}


def test_confidences_of_eighty_percent_that_are_right_as_often_are_calibrated():
    pair = align(list("ABCDE"), list("ABCDF")), [0.8] * 5
    calibration = calibrate([pair] * 20)
    assert calibration.expected_error == pytest.approx(0)
    assert calibration.normalized_cross_entropy == pytest.approx(0)
    (only,) = calibration.bins
    assert (only.low, only.words, only.correct) == (0.8, 100, 80)


def test_certain_confidences_are_calibrated_only_when_right():
    right = align(["A"], ["A"]), [1.0]
    wrong = align(["A"], ["B"]), [0.0]
    assert calibrate([right, wrong]).normalized_cross_entropy == pytest.approx(1, abs=1e-5)
    assert calibrate([right]).normalized_cross_entropy is None
    assert calibrate([(right[0], [0.25])]).expected_error == 0.75


def test_confidences_that_do_not_fit_the_words_are_counted_and_left_out():
    aligned = align(["A", "B"], ["A"])
    calibration = calibrate([(aligned, [0.5]), (aligned, [0.5, 0.5]), (aligned, [-3.0])])
    assert (calibration.words, calibration.left_out) == (1, 2)
    assert calibrate([(aligned, [])]) is None


def test_the_page_draws_the_calibration_where_there_are_confidences(report):
    page, _ = read_page(report())
    assert len(page.all("circle")) == 6
    page, _ = read_page(report(Details()))
    assert page.all("circle") == []
