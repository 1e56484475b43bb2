"""Preparation turns a corpus into manifests of which every file is known to be whole."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from asr.corpora import Corpus, CorpusItem, ReadOptions, Refusal
from asr.errors import ManifestError, UsageError
from asr.files import atomic_write
from asr.listening import AudioMemory
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.text import NORMALIZERS
from asr.verification import Rules, Verified, verify_items

TRAIN, VALID = "train", "valid"
REPORT_NAME = "prepare-report.json"


@dataclass(frozen=True)
class HoldOut:
    """Which training speakers become the validation set; neither means none.

    Attributes:
        speakers: their names.
        utterances: take whole speakers in sorted order until there are at least so many.
    """

    speakers: tuple[str, ...] = ()
    utterances: int = 0

    @classmethod
    def named(cls, words: str) -> "HoldOut":
        """Hold out speakers that a user names.

        Args:
            words: names, separated by commas or spaces, or a file of such.

        Raises:
            UsageError: nobody is named.
        """
        given = Path(words)
        text = given.read_text(encoding="utf-8") if given.is_file() else words
        names = text.replace(",", " ").split()
        if not names:
            raise UsageError(f"{words!r} names no speaker to hold out")
        return cls(speakers=tuple(names))


@dataclass(frozen=True)
class ManifestSummary:
    """What one manifest holds; durations in hours and seconds as decoded."""

    name: str
    utterances: int
    hours: float
    speakers: int
    sample_rates: dict[str, int]
    characters: str
    shortest_seconds: float
    longest_seconds: float


@dataclass(frozen=True)
class PreparationReport:
    """What was made of a corpus and what was not, which is also ``prepare-report.json``.

    Attributes:
        corpus: its name.
        root: where it lies.
        normalizer: name and version.
        manifests: those written.
        valid_speakers: who was held out of training.
        shared_speakers: names that are heard in more than one manifest, with these.
        refused: what is broken, and why.
        left_out: what is sound but shorter or longer than asked for.
    """

    corpus: str
    root: str
    normalizer: str
    manifests: tuple[ManifestSummary, ...]
    valid_speakers: tuple[str, ...]
    shared_speakers: dict[str, tuple[str, ...]]
    refused: tuple[Refusal, ...]
    left_out: tuple[Refusal, ...]


def prepare_corpus(
    name: str,
    corpus: Corpus,
    root: Path,
    out: Path,
    *,
    splits: Sequence[str] = (),
    options: ReadOptions | None = None,
    rules: Rules | None = None,
    hold_out: HoldOut | None = None,
    memory: AudioMemory | None = None,
    jobs: int | None = None,
) -> PreparationReport:
    """Verify every file of a corpus and write a manifest for each split, sorted by id.

    With a validation set to hold out, the training splits (those called train..., or all if none
    is) become ``train.jsonl`` and ``valid.jsonl``. Audio that did not change since an earlier call
    is not decoded again, and what would be written as it stands there already is not written.

    Args:
        name, corpus, root: what to read, and where it lies.
        out: folder for manifests, report and converted audio.
        splits, options: what to read of it, and how; all that is present when empty.
        rules, hold_out: what to demand, and who is to validate; the corpus' own when None.
        memory: of audio that was decoded before; that in ``out`` when None.
        jobs: threads that decode; as many as there are cores when None.

    Returns:
        What was written, refused and left out.

    Raises:
        CorpusError: the layout is not the corpus' own.
        UsageError: nothing was found, or speakers cannot be held out as asked.
    """
    rules = rules or Rules(corpus.normalizer, corpus.characters)
    faults: list[Refusal] = []
    items = _read_splits(name, corpus, root, splits, options, faults)
    hold_out = hold_out or HoldOut(utterances=corpus.valid_utterances if TRAIN in items else 0)
    parts, valid_speakers = _hold_out(items, hold_out)
    with memory or AudioMemory(out) as known:
        verified = {}
        for part, members in parts.items():
            sound = _without_doubles(members, faults)
            verdicts = verify_items(part, sound, rules, out, known, jobs)
            verified[part] = _write_part(part, verdicts, out, faults)
    report = PreparationReport(
        corpus=name,
        root=str(root.absolute()),
        normalizer=str(NORMALIZERS[rules.normalizer]),
        manifests=tuple(_summarize(part, whole) for part, whole in verified.items() if whole),
        valid_speakers=valid_speakers,
        shared_speakers=_shared(verified),
        refused=tuple(fault for fault in faults if not fault.sound),
        left_out=tuple(fault for fault in faults if fault.sound),
    )
    return _write_report(out / REPORT_NAME, report)


def _read_splits(
    name: str,
    corpus: Corpus,
    root: Path,
    splits: Sequence[str],
    options: ReadOptions | None,
    refused: list[Refusal],
) -> dict[str, list[CorpusItem]]:
    """Return the items of each split and add what the reader refuses to ``refused``."""
    items: dict[str, list[CorpusItem]] = {}
    for split in splits or corpus.splits(root):
        items[split] = []
        for entry in corpus.read(root, split, options or ReadOptions()):
            if isinstance(entry, Refusal):
                refused.append(entry)
            else:
                items[split].append(entry)
    if not any(items.values()):
        raise UsageError(f"no utterance of {name} found in {root}; {_complaint(refused)}")
    return items


def _complaint(refused: list[Refusal]) -> str:
    if not refused:
        return "is --root the folder that holds it?"
    return f"the first of {len(refused)} refused: {refused[0].place}: {refused[0].reason}"


def _hold_out(
    items: Mapping[str, list[CorpusItem]], hold_out: HoldOut
) -> tuple[dict[str, list[CorpusItem]], tuple[str, ...]]:
    """Join the training splits and part them by speaker."""
    if not hold_out.speakers and not hold_out.utterances:
        return dict(items), ()
    sources = [split for split in items if split.startswith(TRAIN)] or list(items)
    others = {split: members for split, members in items.items() if split not in sources}
    if VALID in others:
        raise UsageError(
            f"there is a split '{VALID}' already; name the others with --splits, or hold out nobody"
        )
    pool = [item for split in sources for item in items[split]]
    chosen = _choose_speakers(pool, hold_out)
    parts = {
        TRAIN: [item for item in pool if item.speaker not in chosen],
        VALID: [item for item in pool if item.speaker in chosen],
    }
    if not parts[TRAIN]:
        raise UsageError(
            f"holding out {len(chosen)} speakers leaves nobody to train on; hold out fewer of the "
            f"{len(pool)} utterances"
        )
    return parts | others, tuple(sorted(chosen))


def _choose_speakers(pool: list[CorpusItem], hold_out: HoldOut) -> set[str]:
    counts = Counter(item.speaker for item in pool)
    if hold_out.speakers:
        unknown = sorted(set(hold_out.speakers) - counts.keys())
        if unknown:
            raise UsageError(
                f"no speaker '{unknown[0]}' to hold out; there are {len(counts)}: "
                f"{', '.join(sorted(counts)[:8])} ..., or name a file that lists speakers"
            )
        return set(hold_out.speakers)
    if "" in counts:
        raise UsageError(
            f"{counts['']} of {len(pool)} utterances have no speaker, so that none can be held out "
            "by speaker; say who speaks with --speaker-from"
        )
    chosen: set[str] = set()
    held = 0
    for speaker in sorted(counts):
        if held >= hold_out.utterances:
            break
        chosen.add(speaker)
        held += counts[speaker]
    return chosen


def _without_doubles(items: list[CorpusItem], refused: list[Refusal]) -> list[CorpusItem]:
    first: dict[str, CorpusItem] = {}
    for item in sorted(items, key=lambda item: (item.id, str(item.audio))):
        if item.id in first:
            reason = f"its id is that of {first[item.id].audio} too"
            refused.append(Refusal(item.id, str(item.audio), reason))
        else:
            first[item.id] = item
    return list(first.values())


def _write_part(
    manifest: str, verdicts: Iterable[Verified | Refusal], out: Path, faults: list[Refusal]
) -> list[Verified]:
    """Write the manifest of what is good, and add the rest to ``faults``."""
    verified = []
    for verdict in verdicts:
        if isinstance(verdict, Verified):
            verified.append(verdict)
        else:
            faults.append(verdict)
    _write_manifest(out / f"{manifest}.jsonl", [entry.utterance for entry in verified])
    return verified


def _summarize(manifest: str, verified: list[Verified]) -> ManifestSummary:
    utterances = [entry.utterance for entry in verified]
    durations = [utterance.duration for utterance in utterances]
    rates = Counter(entry.sample_rate for entry in verified)
    return ManifestSummary(
        name=manifest,
        utterances=len(utterances),
        hours=round(sum(durations) / 3600, 4),
        speakers=len({utterance.speaker for utterance in utterances} - {""}),
        sample_rates={str(rate): rates[rate] for rate in sorted(rates)},
        characters="".join(sorted({c for utterance in utterances for c in utterance.text})),
        shortest_seconds=round(min(durations), 3),
        longest_seconds=round(max(durations), 3),
    )


def _shared(verified: Mapping[str, list[Verified]]) -> dict[str, tuple[str, ...]]:
    places: dict[str, list[str]] = {}
    for manifest, entries in verified.items():
        for speaker in {entry.utterance.speaker for entry in entries} - {""}:
            places.setdefault(speaker, []).append(manifest)
    return {speaker: tuple(where) for speaker, where in sorted(places.items()) if len(where) > 1}


def _write_manifest(path: Path, utterances: list[Utterance]) -> None:
    if not utterances:
        # An older manifest would pass for the result of this run.
        path.unlink(missing_ok=True)
        return
    try:
        if read_manifest(path) == utterances:
            return
    except ManifestError:
        pass
    write_manifest(path, utterances)


def _write_report(path: Path, report: PreparationReport) -> PreparationReport:
    text = json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as stream:
            stream.write(text)
    return report
