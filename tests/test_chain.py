"""The chain of a recipe: from an empty folder to a table of results, and what is whole is kept."""

import io
import json
import signal
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from mirrors import Mirror, corpus_of, serve

import asr.chain.launch
from asr.chain import Chain, ChainOptions
from asr.chain.record import Record
from asr.cli import main
from asr.corpora import CORPORA
from asr.errors import ConfigError, TrainingError
from asr.recognizer import Recognizer
from asr.training.averaging import KeptWeights, average_checkpoints, kept_epochs
from asr.training.module import CTCTraining

STEPS = ("download", "prepare", "tokenizer", "train", "average", "evaluate", "results")


@pytest.fixture(scope="module")
def mirror(archives: dict[str, bytes]) -> Iterator[Mirror]:
    with serve(archives) as running:
        yield running


@pytest.fixture
def place(
    tmp_path: Path, mirror: Mirror, archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty folder to run in, and a LibriSpeech that the test's mirror offers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CORPORA, "librispeech", corpus_of(archives, mirror.url))
    return tmp_path


def chain(*more: str) -> int:
    """Run the recipe of mini-LibriSpeech as a user would, with a model of seconds."""
    words = [
        *("recipes=librispeech/mini", "chain.parts=[train-clean-5,dev-clean]"),
        *("chain.evaluate=[dev-clean]", "data.valid=data/librispeech/dev-clean.jsonl"),
        *("model=gru_tiny", "tokenizer=characters", "trainer=cpu", "trainer.max_epochs=2"),
        *("data.batch_seconds=30", "data.workers=0", "averaging.epochs=2", "augment=none"),
    ]
    return main(["train", *words, *more])


def steps(printed: str) -> dict[str, str]:
    """Give what each step has said."""
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    return {line.partition("] ")[2].partition(":")[0]: line.partition(": ")[2] for line in lines}


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, mirror: Mirror, archives: dict[str, bytes]
) -> tuple[Path, dict[str, str]]:
    """A folder in which the chain has run once, and what its steps said."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.chdir(place)
        patch.setitem(CORPORA, "librispeech", corpus_of(archives, mirror.url))
        assert chain() == 0
    return place, steps(printed.getvalue())


@pytest.fixture
def again(finished: tuple[Path, dict[str, str]], place: Path, monkeypatch) -> Path:
    """The same folder, to run in once more."""
    monkeypatch.chdir(finished[0])
    return finished[0]


def test_from_nothing_to_a_table_and_nothing_is_done_twice(again, finished, capsys):
    place, said = finished
    assert tuple(said) == STEPS
    assert said["download"] == "2 parts are there, 0 were whole already"
    assert said["prepare"].startswith("58 files decoded, 0 unchanged; ")
    run = place / "runs/librispeech-mini"
    table = (run / "RESULTS.md").read_text(encoding="utf-8")
    score = json.loads((run / "evaluation/dev-clean/score.json").read_text(encoding="utf-8"))
    assert f"| dev-clean | 8 | {score['words']['reference_length']} |" in table
    assert f"**{100 * score['wer']:.2f}**" in table
    assert "asr train recipes=librispeech/mini 'chain.parts=[train-clean-5,dev-clean]'" in table
    assert "mean of the weights of epochs 1, 2" in table
    assert Recognizer.load(run / "averaged").notes["averaged_epochs"] == [1, 2]

    before = {p: p.stat().st_mtime_ns for p in place.rglob("*") if p.is_file()}
    assert chain() == 0
    said = steps(capsys.readouterr().out)
    assert said["download"] == "2 parts are there, 2 were whole already"
    for step in ("prepare", "tokenizer", "train", "average"):
        assert said[step].startswith("whole already"), step
    assert said["evaluate"].startswith("dev-clean whole already, WER ")
    after = {p: p.stat().st_mtime_ns for p in place.rglob("*") if p.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"RESULTS.md", ".librispeech-mini.ready.json", ".audio.jsonl"}

    # Damage is noticed where it is, and what depends on it is done again.
    weights = run / "averaged/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (run / "evaluation/dev-clean/hypotheses.txt").unlink()
    assert chain() == 0
    said = steps(capsys.readouterr().out)
    assert said["train"].startswith("whole already")
    assert said["average"].startswith("epochs 1, 2 in ")
    assert "whole already" not in said["evaluate"]
    assert weights.read_bytes() == content
    assert (run / "evaluation/dev-clean/hypotheses.txt").is_file()

    assert main(["average", str(run), "-o", str(place / "mean")]) == 0
    assert (place / "mean/model.safetensors").read_bytes() == content


def test_a_language_model_is_fetched_weighed_and_used_by_further_steps(again, capsys):
    place = again
    words = ["chain.lm=3-gram.tiny", "chain.tune=[dev-clean]"]
    assert chain(*words) == 0
    said = steps(capsys.readouterr().out)
    assert tuple(said) == (*STEPS[:-1], "lm", "tune", "evaluate-lm", "results")
    assert said["download"] == "3 parts are there, 2 were whole already"
    assert said["evaluate"].startswith("dev-clean whole already")
    assert said["lm"].endswith(" 2-grams in corpora/lm/3-gram.tiny.bin")
    run = place / "runs/librispeech-mini"
    score = json.loads((run / "evaluation/dev-clean-lm/score.json").read_text(encoding="utf-8"))
    table = (run / "RESULTS.md").read_text(encoding="utf-8")
    assert table.count("| dev-clean | 8 |") == 2
    assert f"**{100 * score['wer']:.2f}**" in table
    assert "With the language model 3-gram.tiny: beam search of 16 hypotheses" in table
    # The verbs give the same: weights in the model folder, and the file named.
    options = Recognizer.load(run / "tuned").decoder_options
    assert f"weight {options.lm_weight:g}, bonus {options.insertion_bonus:g}: WER" in said["tune"]
    lm = place / "corpora/lm/3-gram.tiny.bin"
    manifest = place / "data/librispeech/dev-clean.jsonl"
    verb = ["evaluate", str(manifest), "-m", str(run / "tuned"), "--lm", str(lm)]
    assert main([*verb, "-o", str(place / "again")]) == 0
    found = json.loads((place / "again/score.json").read_text(encoding="utf-8"))
    assert found["wer"] == score["wer"] and "3-gram.tiny.bin" in found["decoder"]
    assert not (run / "tuning/log-probs").exists()
    capsys.readouterr()

    assert chain(*words) == 0
    said = steps(capsys.readouterr().out)
    assert said["download"] == "3 parts are there, 3 were whole already"
    for step in ("prepare", "tokenizer", "train", "average", "lm", "tune"):
        assert said[step].startswith("whole already"), step
    assert said["evaluate-lm"].startswith("dev-clean whole already, WER ")
    # A file of one's own; what was decoded greedily stays.
    assert chain(f"chain.lm={lm}", "chain.tune=[dev-clean]") == 0
    said = steps(capsys.readouterr().out)
    assert said["lm"].endswith("3-gram.tiny.bin is ready as it is")
    assert said["evaluate"].startswith("dev-clean whole already")


def test_sigterm_within_the_chain_ends_with_143_and_the_next_start_goes_on(
    again, capsys, monkeypatch
):
    words = ["name=stopped", "chain.last=train"]
    step, calls = CTCTraining.training_step, []

    def signalled(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CTCTraining, "training_step", signalled)
        assert chain(*words) == 143
    said = steps(capsys.readouterr().out)
    assert tuple(said) == ("download", "prepare", "tokenizer")
    assert len(calls) == 2
    assert chain(*words) == 0
    printed = capsys.readouterr().out
    assert "going on" in printed
    assert steps(printed)["tokenizer"].startswith("whole already")
    assert steps(printed)["train"].startswith("best dev WER ")


def test_offline_a_chain_names_what_is_missing_before_it_trains(place, capsys):
    assert chain("chain.offline=true") == 1
    printed = capsys.readouterr()
    assert f"at {place}/corpora/dev-clean.tar.gz" in printed.out
    assert "2 of 2 parts are not there: dev-clean, train-clean-5" in printed.err
    assert not (place / "runs").exists()


def test_the_data_steps_alone_and_then_the_vocabulary_by_its_own_verb(place, capsys):
    assert chain("chain.last=prepare") == 0
    assert tuple(steps(capsys.readouterr().out)) == ("download", "prepare")
    manifest = "data/librispeech/train-clean-5.jsonl"
    assert main(["tokenizer", manifest, "-o", "words", "--kind", "characters"]) == 0
    assert "from 50 transcripts of" in capsys.readouterr().out
    words = [f"data.train={manifest}", "data.valid=data/librispeech/dev-clean.jsonl"]
    more = ["tokenizer.folder=words", "model=gru_tiny", "trainer=cpu", "trainer.max_epochs=1"]
    assert main(["train", *words, *more, "data.batch_seconds=30", "data.workers=0"]) == 0
    vocabulary = (place / "words/tokenizer.txt").read_bytes()
    assert (place / "runs/run/model/tokenizer.txt").read_bytes() == vocabulary


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("chain.corpus=libri", "chain.corpus is 'libri'"),
        ("chain.last=trian", "chain.last is 'trian'; expected one of download"),
        ("chain.first=tune", "chain.first is 'tune', but chain.lm names no language model"),
        ("chain.lm=5-gram", "expected one, or one of 3-gram.tiny"),
        ("chain.lm=3-gram.tiny chain.tune=[test-clean]", "expected development sets"),
        ("chain.first=results chain.last=train", "which comes behind 'train'"),
        ("chain.parts=[dev-cleen]", "there is no part 'dev-cleen'"),
    ],
)
def test_an_impossible_chain_is_one_sentence(override, message, place, capsys):
    assert chain(*override.split()) == 2
    assert message in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_a_dry_run_before_anything_is_downloaded(place, capsys):
    assert chain("--dry-run", "chain.lm=3-gram.tiny", "chain.tune=[dev-clean]") == 0
    printed = capsys.readouterr()
    figures = dict(line.split("  ", 1) for line in printed.out.splitlines() if "  " in line)
    # 0.1 GB of archives as large as dev-clean's, of which 8 utterances and 0.02 hours are stated.
    assert figures["training speech"].strip() == "0.02 h in 8 utterances"
    assert figures["time"].strip() == "not measured: there is no audio yet"
    archive = f"{place}/corpora/train-clean-5.tar.gz"
    assert (
        f"31/train-clean-5.tar.gz -> {archive}, unpacked to {place}/corpora/LibriSpeech"
        in printed.out
    )
    assert f"3-gram.tiny.arpa.gz -> {place}/corpora/lm/3-gram.tiny.arpa.gz\n" in printed.out
    assert "the published figures of dev-clean" in printed.out
    assert "by the size of train-clean-5's archive" in printed.out
    assert "not checked before the data is there: audio" in printed.out
    assert list(place.iterdir()) == []
    assert chain("--dry-run", "data.batch_seconds=auto") == 2
    assert "give seconds for an estimate" in capsys.readouterr().err
    assert chain("--dry-run", "auxiliary=phonemes") == 2
    assert "is built from transcripts, which are not there yet" in capsys.readouterr().err


def test_an_impossible_choice_of_epochs_is_one_sentence(place):
    with pytest.raises(ConfigError, match=r"averaging\.choose is 'good'; expected best or last"):
        KeptWeights(place, 2, "good")
    with pytest.raises(ConfigError, match=r"averaging\.epochs is -1; expected 0 or more"):
        KeptWeights(place, -1)


def test_other_processes_of_a_launch_wait_for_the_data_of_this_launch(place, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    options = ChainOptions("librispeech", "corpora", "data")
    config = {"name": "n", "output_dir": "run", "tokenizer": {}, "data": {}}
    waiting = Chain(options, config, is_main=False)
    waiting.ready.write({"launch": "of another job"}, [], {})
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            waiting.ready.write({"launch": asr.chain.launch.launch()}, [], {})

    monkeypatch.setattr(asr.chain.launch.time, "sleep", sleep)
    monkeypatch.setattr(waiting, "train", lambda: "trained")
    waiting.run()
    assert len(slept) == 3


def test_a_record_holds_only_while_inputs_and_outputs_are_the_same(tmp_path):
    record, output = Record(tmp_path / "record.json"), tmp_path / "output"
    output.write_text("one")
    assert record.facts({"a": 1}) is None and record.difference({"a": 1}) == ""
    record.write({"a": 1}, [output], {"said": "so"})
    assert record.facts({"a": 1}) == {"said": "so"}
    assert record.facts({"a": 2}) is None
    assert record.difference({"a": 2, "b": 3}) == "once more, since a and 1 more changed"
    output.write_text("two")
    assert record.facts({"a": 1}) is None
    assert record.difference({"a": 1}) == "once more, since its output was changed or removed"


def test_averages_are_those_of_numpy_in_float64(tmp_path):
    draw = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.safetensors" for number in range(5)]
    contents = [
        {
            "weight": draw.standard_normal((3, 4)).astype(np.float32),
            "half": draw.standard_normal(3).astype(np.float16),
            "count": np.array([number]),
        }
        for number, _ in enumerate(paths)
    ]
    for path, content in zip(paths, contents, strict=True):
        safetensors.numpy.save_file(content, path)
    mean = average_checkpoints(paths)
    for name in ("weight", "half"):
        exact = np.mean([content[name].astype(np.float64) for content in contents], axis=0)
        np.testing.assert_array_equal(mean[name].numpy(), exact.astype(contents[0][name].dtype))
    assert mean["count"].tolist() == [4]


def test_weights_that_do_not_belong_together_are_refused(tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, one)
    safetensors.numpy.save_file({"weight": np.zeros(4)}, other)
    with pytest.raises(TrainingError, match="are not of the same model"):
        average_checkpoints([one, other])
    with pytest.raises(TrainingError, match="no weights to average"):
        average_checkpoints([])


@pytest.mark.parametrize(("choose", "kept"), [("best", [2, 3, 5]), ("last", [4, 5, 6])])
def test_the_best_or_the_last_epochs_are_kept(choose, kept, tmp_path, kept_run):
    folder = kept_run(tmp_path, choose, wers=[9.0, 3.0, 2.0, 8.0, 3.0, 7.0])
    assert [one.epoch for one in kept_epochs(folder)] == kept
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == [f"epoch-{epoch:04d}.safetensors" for epoch in kept]


@pytest.fixture
def kept_run(monkeypatch):
    """Run the ends of epochs with given error rates, the third of them twice as after a restart."""
    from types import SimpleNamespace

    import torch

    from asr.training.module import CTCTraining

    def run(place: Path, choose: str, wers: list[float]) -> Path:
        module = CTCTraining.__new__(CTCTraining)
        torch.nn.Module.__init__(module)
        module.model, module.average = torch.nn.Linear(1, 1), None
        callback = KeptWeights(place, epochs=3, choose=choose)
        for epoch in (0, 1, 2, *range(2, len(wers))):
            summary = {"valid_wer": wers[epoch], "valid_loss": 1.0}
            module.state_summary = lambda summary=summary: summary
            trainer = SimpleNamespace(current_epoch=epoch, is_global_zero=True)
            callback.on_train_epoch_end(trainer, module)
        return place / "weights"

    return run
