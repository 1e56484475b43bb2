"""The chain of one recipe, step by step."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.chain.language_model import LanguageModel, tune_model
from asr.chain.launch import launch, wait_for
from asr.chain.options import STEPS, ChainOptions
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
            "lm": self.convert_lm,
            "tune": self.tune,
            "evaluate-lm": self.evaluate_with_lm,
            "results": self.results,
        }
        first, last = STEPS.index(self.options.first), STEPS.index(self.options.last)
        self.wer = float("nan")
        if not self.is_main:
            if first <= STEPS.index("train") <= last:
                if first < STEPS.index("train"):
                    wait_for(self.ready)
                self.train()
            return self.wer
        if self.lm:
            # A name that nothing has is told before hours of training.
            _ = self.lm.part
        if first < STEPS.index("train"):
            self.ready.begin()
        for number, name in enumerate(self.options.steps, start=1):
            if first <= STEPS.index(name) <= last:
                done = steps[name]()
                print(f"[{number}/{len(self.options.steps)}] {name}: {done}", flush=True)
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

    @cached_property
    def lm(self) -> LanguageModel | None:
        """The language model to decode with as well."""
        name = self.options.lm
        return LanguageModel(name, self.corpus, Path(self.options.root)) if name else None

    def download(self) -> str:
        """Bring the parts onto the disk."""
        language = [self.lm.part] if self.lm and self.lm.part else []
        parts = [*self.parts, *(part for part in language if part not in self.parts)]
        if not parts:
            return f"no parts are asked for; the corpus is what lies in {self.options.root}"
        options = DownloadOptions(
            mirrors=self.options.mirrors,
            offline=self.options.offline,
            delete_archives=self.options.delete_archives,
            incomplete=self.options.incomplete,
        )
        root = Path(self.options.root)
        reports = download_parts(self.corpus, parts, root, options, _tell)
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
            told = facts.get("outcome", f"best dev WER {facts['wer']:.2f} %")
            return f"whole already, {told} of {self.config['trainer']['max_epochs']}"
        again = record.difference(inputs)
        result = train(self.config)
        self.wer = result.wer
        if self.is_main:
            facts = {"wer": result.wer, "outcome": result.outcome}
            record.write(inputs, files_of(result.model), facts)
        return _joined(result.outcome, again)

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
        return self._evaluate("", self.model, None)

    def convert_lm(self) -> str:
        """Make the language model ready."""
        lm = _there(self.lm)
        if lm.ready == lm.source:
            return f"{lm.ready} is ready as it is"
        inputs = fingerprint([str(lm.source)])
        record = Record(lm.ready.with_name(f".{lm.ready.name}.json"))
        facts = record.facts(inputs)
        if facts is not None:
            return f"whole already, {facts['ngrams']} in {lm.ready}"
        record.begin()
        ngrams = lm.convert()
        record.write(inputs, [lm.ready], {"ngrams": ngrams})
        return f"{ngrams} in {lm.ready}"

    def tune(self) -> str:
        """Find the language model's weight on development sets."""
        manifests = [str(self.manifests / f"{name}.jsonl") for name in self.options.tune]
        lm = _there(self.lm).ready
        files = [*files_of(self.model), *(files_of(lm) if lm.is_dir() else [lm])]
        inputs = fingerprint([*manifests, *map(str, files)])
        record, folder = self._record("tune"), self.run_folder / "tuning"
        facts = record.facts(inputs)
        state = "whole already, " if facts else ""
        if facts is None:
            record.begin()
            utterances = [u for manifest in manifests for u in read_manifest(manifest)]
            facts = tune_model(self.model, utterances, lm, folder, self.tuned)
            record.write(inputs, [*files_of(self.tuned), *files_of(folder)], facts)
        return (
            f"{state}weight {facts['lm_weight']:g}, bonus {facts['insertion_bonus']:g}: WER "
            f"{facts['greedy']:.2f} % without and {facts['wer']:.2f} % with it on "
            f"{', '.join(self.options.tune)}; {self.tuned} has these weights"
        )

    @property
    def tuned(self) -> Path:
        """The model folder that holds the language model's weights."""
        return self.run_folder / "tuned"

    def evaluate_with_lm(self) -> str:
        """Decode and score the manifests with the language model."""
        return self._evaluate("-lm", self.tuned, _there(self.lm).ready)

    def results(self) -> str:
        """Write the table of results."""
        path = self.run_folder / "RESULTS.md"
        greedy, search = self._scores("", self.model, None), {}
        if self.lm and (scores := self._scores("-lm", self.tuned, self.lm.ready)):
            facts = (self._record("tune").read() or {}).get("facts", {})
            named = {"name": self.lm.name, "tune": self.options.tune, "scores": scores}
            search = {**facts, **named}
        write_results(path, self.config, greedy, self.model, self.command, search)
        return str(path)

    def _evaluate(self, suffix: str, model: Path, lm: Path | None) -> str:
        from asr.chain.scoring import score_manifest

        done = []
        for name in self.options.evaluate:
            manifest = self.manifests / f"{name}.jsonl"
            record, inputs = self._evaluation(name, suffix, model, lm)
            facts = record.facts(inputs)
            state = "whole already, " if facts else ""
            if facts is None:
                record.begin()
                folder = self.run_folder / "evaluation" / f"{name}{suffix}"
                facts = score_manifest(model, manifest, folder, lm)
                record.write(inputs, files_of(folder), facts)
            done.append(f"{name} {state}WER {facts['wer']:.2f} %")
        return "; ".join(done) or "chain.evaluate names no manifest"

    def _scores(self, suffix: str, model: Path, lm: Path | None) -> dict[str, dict[str, Any]]:
        """Give the figures of those evaluations that are whole."""
        scores = {}
        for name in self.options.evaluate:
            record, inputs = self._evaluation(name, suffix, model, lm)
            facts = record.facts(inputs)
            if facts is not None:
                scores[name] = facts
        return scores

    def _evaluation(
        self, name: str, suffix: str, model: Path, lm: Path | None
    ) -> tuple[Record, dict[str, str]]:
        """Give the record of one manifest's evaluation, and what it is made from."""
        files = [self.manifests / f"{name}.jsonl", *files_of(model)]
        if lm:
            files += files_of(lm) if lm.is_dir() else [lm]
        return self._record(f"evaluate-{name}{suffix}"), fingerprint(map(str, files))

    def _named(self, key: str) -> list[str]:
        paths = self.config["data"][key]
        return [paths] if isinstance(paths, str) else list(paths or ())

    def _record(self, name: str) -> Record:
        return Record(self.run_folder / "chain" / f"{name}.json")


def _there(lm: LanguageModel | None) -> LanguageModel:
    assert lm, "steps of a language model are left out where there is none"
    return lm


def _tell(report: PartReport) -> None:
    print(f"  {report.part}: {'' if report.whole else 'FAILED: '}{report.done}", flush=True)


def _joined(done: str, why: str) -> str:
    return f"{done} ({why})" if why else done
