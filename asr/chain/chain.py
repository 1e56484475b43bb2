"""The chain of one recipe: download, prepare, tokenizer, train, average, evaluate, results."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.chain.record import Record, files_of, fingerprint
from asr.chain.results import write_results
from asr.corpora import CORPORA, Corpus, Part
from asr.download import DownloadOptions, PartReport, download_parts
from asr.errors import ConfigError, CorpusError, DownloadError
from asr.listening import AudioMemory
from asr.manifest import read_manifest
from asr.preparation import HoldOut, prepare_corpus
from asr.schema import flatten
from asr.tokenizer import train_tokenizer

STEPS = ("download", "prepare", "tokenizer", "train", "average", "evaluate", "results")
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class ChainOptions:
    """What a recipe says about its chain, all plain values.

    Attributes:
        corpus: a key of ``CORPORA``.
        root: where archives and corpus lie or go.
        parts: parts or groups of the corpus' release; none takes what lies in the root.
        manifests: where manifests and vocabulary go.
        evaluate: names of the manifests to decode at the end.
        valid_speakers: speakers to hold out of training: names, or a file that lists them.
        mirrors: places to download from, in the order to try them; the release's own if there is
            none.
        offline: download nothing; name what is missing.
        incomplete: take splits as they lie there, with fewer utterances than the official ones.
        delete_archives: once they are unpacked and verified.
        first: the step to begin with.
        last: the step to end with.
    """

    corpus: str
    root: str
    manifests: str
    parts: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    valid_speakers: str = ""
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    incomplete: bool = False
    delete_archives: bool = False
    first: str = STEPS[0]
    last: str = STEPS[-1]

    def __post_init__(self) -> None:
        if self.corpus not in CORPORA:
            raise ConfigError(
                f"chain.corpus is '{self.corpus}'; expected one of {', '.join(CORPORA)}"
            )
        for key in ("first", "last"):
            step = getattr(self, key)
            if step not in STEPS:
                raise ConfigError(f"chain.{key} is '{step}'; expected one of {', '.join(STEPS)}")
        if STEPS.index(self.first) > STEPS.index(self.last):
            raise ConfigError(f"chain.first is '{self.first}', which comes behind '{self.last}'")


class Chain:
    """Runs the steps of a recipe; each says what it did, or that its output is whole already.

    Args:
        options: the recipe's ``chain``.
        config: all the rest of the configuration, as ``asr.training.train`` takes it.
        command: how to run this chain again, for the results.
        is_main: whether this process is the one that works; the others of a distributed training
            wait for the data and train.
    """

    def __init__(
        self,
        options: ChainOptions,
        config: Mapping[str, Any],
        command: str = "asr train",
        is_main: bool = True,
    ) -> None:
        self.options = options
        self.manifests = Path(options.manifests)
        self.vocabulary = self.manifests / f"{config['name']}-tokenizer"
        tokenizer = {**config["tokenizer"], "folder": str(self.vocabulary)}
        self.config: dict[str, Any] = {**config, "tokenizer": tokenizer}
        self.run_folder = Path(str(config["output_dir"]))
        self.command = command
        self.is_main = is_main
        self.ready = Record(self.manifests / f".{config['name']}.ready.json")

    def run(self) -> float:
        """Run the steps.

        Returns:
            The best word error rate on the validation set, in percent; NaN where the chain ends
            before training.

        Raises:
            AsrError: a step failed; those before it need not be done again.
        """
        steps: dict[str, Callable[[], str]] = {
            "download": self.download,
            "prepare": self.prepare,
            "tokenizer": self.tokenizer,
            "train": self.train,
            "average": self.average,
            "evaluate": self.evaluate,
            "results": self.results,
        }
        first, last = STEPS.index(self.options.first), STEPS.index(self.options.last)
        self.wer = float("nan")
        if not self.is_main:
            if first <= STEPS.index("train") <= last:
                self._wait_for_data(first)
                self.train()
            return self.wer
        if first < STEPS.index("train"):
            self.ready.begin()
        for number, name in enumerate(STEPS):
            if first <= number <= last:
                done = steps[name]()
                print(f"[{number + 1}/{len(STEPS)}] {name}: {done}", flush=True)
                if name == "tokenizer":
                    self.ready.write({"launch": launch()}, [], {})
        return self.wer

    @property
    def corpus(self) -> Corpus:
        return CORPORA[self.options.corpus]

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of the release that the recipe needs."""
        if not self.options.parts:
            return []
        if self.corpus.release is None:
            raise ConfigError(
                f"chain.parts is {list(self.options.parts)}, but nothing of {self.options.corpus} "
                "can be downloaded; leave it empty"
            )
        return self.corpus.release.choose(list(self.options.parts))

    def download(self) -> str:
        """Bring the parts onto the disk."""
        if not self.parts:
            return f"no parts are asked for; the corpus is what lies in {self.options.root}"
        options = DownloadOptions(
            mirrors=self.options.mirrors,
            offline=self.options.offline,
            delete_archives=self.options.delete_archives,
            incomplete=self.options.incomplete,
        )
        root = Path(self.options.root)
        reports = download_parts(self.corpus, self.parts, root, options, _tell)
        failed = [report.part for report in reports if not report.whole]
        if failed:
            raise DownloadError(
                f"{len(failed)} of {len(reports)} parts are not there: {', '.join(failed)}; see "
                "above for each, and run the same command again to go on"
            )
        whole = sum(report.done == "is whole already" for report in reports)
        return f"{len(reports)} parts are there, {whole} were whole already"

    def prepare(self) -> str:
        """Verify the audio and write manifests."""
        memory = AudioMemory(self.manifests)
        speakers = self.options.valid_speakers
        report = prepare_corpus(
            self.options.corpus,
            self.corpus,
            Path(self.options.root),
            self.manifests,
            splits=[part.split for part in self.parts if part.split],
            hold_out=HoldOut.named(speakers) if speakers else None,
            memory=memory,
        )
        if report.refused and not self.options.incomplete:
            first = report.refused[0]
            raise CorpusError(
                f"{len(report.refused)} utterances are refused, the first: {first.place}: "
                f"{first.reason}; all stand in {self.manifests}/prepare-report.json. Mend them, or "
                "go on without them by chain.incomplete=true"
            )
        counts = ", ".join(f"{m.name} {m.utterances}" for m in report.manifests)
        heard = (
            f"{memory.decoded} files decoded, {memory.remembered} unchanged"
            if memory.decoded
            else f"whole already, {memory.remembered} files unchanged"
        )
        return f"{heard}; {counts}; refused: {len(report.refused)}"

    def tokenizer(self) -> str:
        """Fit the vocabulary to the training transcripts."""
        options = {k: v for k, v in self.config["tokenizer"].items() if k != "folder"}
        inputs = {**options, "transcripts": fingerprint(self._named("train"))}
        record = Record(self.vocabulary.with_name(f".{self.vocabulary.name}.json"))
        facts = record.facts(inputs)
        again = record.difference(inputs)
        if facts is None:
            record.begin()
            texts = (u.text for path in self._named("train") for u in read_manifest(path))
            tokenizer = train_tokenizer(
                options["kind"], texts, options["vocabulary_size"], options["model_type"]
            )
            tokenizer.save(self.vocabulary)
            facts = {"tokens": tokenizer.vocabulary_size}
            record.write(inputs, files_of(self.vocabulary), facts)
            return _joined(f"{facts['tokens']} tokens in {self.vocabulary}", again)
        return f"whole already, {facts['tokens']} tokens in {self.vocabulary}"

    def train(self) -> str:
        """Train, or go on, unless training is over."""
        from asr.training import train
        from asr.training.run import CHANGEABLE

        fixed = {k: v for k, v in flatten(self.config).items() if not k.startswith(CHANGEABLE)}
        inputs = {
            **fixed,
            "transcripts": fingerprint([*self._named("train"), *self._named("valid")]),
            "vocabulary": fingerprint(map(str, files_of(self.vocabulary))),
        }
        record = self._record("train")
        facts = record.facts(inputs)
        if facts is not None:
            self.wer = facts["wer"]
            return (
                f"whole already, best dev WER {facts['wer']:.2f} % in epoch {facts['epoch']} of "
                f"{self.config['trainer']['max_epochs']}"
            )
        again = record.difference(inputs)
        result = train(self.config)
        self.wer = result.wer
        if self.is_main:
            facts = {"wer": result.wer, "epoch": result.epoch}
            record.write(inputs, files_of(result.model), facts)
        return _joined(f"best dev WER {result.wer:.2f} % in epoch {result.epoch}", again)

    @property
    def model(self) -> Path:
        """The model folder to evaluate: the averaged one, where weights are kept for it."""
        kept = int(self.config["averaging"]["epochs"])
        return self.run_folder / ("averaged" if kept else "model")

    def average(self) -> str:
        """Average the weights that the run has kept."""
        from asr.training.averaging import average_run

        if not self.config["averaging"]["epochs"]:
            return "averaging.epochs is 0, the model is that of the best epoch"
        inputs = {"weights": fingerprint(map(str, files_of(self.run_folder / "weights")))}
        record = self._record("average")
        facts = record.facts(inputs)
        if facts is not None:
            return f"whole already, epochs {', '.join(map(str, facts['epochs']))}"
        record.begin()
        epochs = [one.epoch for one in average_run(self.run_folder, self.model)]
        record.write(inputs, files_of(self.model), {"epochs": epochs})
        return f"epochs {', '.join(map(str, epochs))} in {self.model}"

    def evaluate(self) -> str:
        """Decode and score the manifests, one after another."""
        from asr.chain.scoring import score_manifest

        done = []
        for name in self.options.evaluate:
            manifest = self.manifests / f"{name}.jsonl"
            record, inputs = self._evaluation(name)
            facts = record.facts(inputs)
            state = "whole already, " if facts else ""
            if facts is None:
                record.begin()
                folder = self.run_folder / "evaluation" / name
                facts = score_manifest(self.model, manifest, folder)
                record.write(inputs, files_of(folder), facts)
            done.append(f"{name} {state}WER {facts['wer']:.2f} %")
        return "; ".join(done) or "chain.evaluate names no manifest"

    def results(self) -> str:
        """Write the table of results."""
        scores = {}
        for name in self.options.evaluate:
            record, inputs = self._evaluation(name)
            facts = record.facts(inputs)
            if facts is not None:
                scores[name] = facts
        path = self.run_folder / "RESULTS.md"
        write_results(path, self.config, scores, self.model, self.command)
        return str(path)

    def _evaluation(self, name: str) -> tuple[Record, dict[str, str]]:
        """Give the record of one manifest's evaluation, and what it is made from."""
        files = [self.manifests / f"{name}.jsonl", *files_of(self.model)]
        return self._record(f"evaluate-{name}"), fingerprint(map(str, files))

    def _named(self, key: str) -> list[str]:
        paths = self.config["data"][key]
        return [paths] if isinstance(paths, str) else list(paths or ())

    def _record(self, name: str) -> Record:
        return Record(self.run_folder / "chain" / f"{name}.json")

    def _wait_for_data(self, first: int) -> None:
        """Wait until the main process of the same launch has prepared the data."""
        if first >= STEPS.index("train") or not launch():
            # A process that the main one started itself finds the data ready.
            return
        while (content := self.ready.read()) is None or content["inputs"] != {"launch": launch()}:
            time.sleep(POLL_SECONDS)


def launch() -> str:
    """Name the joint start of several processes; empty where this process was started alone.

    torchrun and SLURM start all processes at once; Lightning starts its own later, when the data
    is there.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names = ["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"]
    elif int(os.environ.get("SLURM_NTASKS") or 1) > 1:
        names = ["SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"]
    else:
        return ""
    return " ".join(os.environ.get(name, "") for name in names)


def _tell(report: PartReport) -> None:
    print(f"  {report.part}: {'' if report.whole else 'FAILED: '}{report.done}", flush=True)


def _joined(done: str, why: str) -> str:
    return f"{done} ({why})" if why else done
