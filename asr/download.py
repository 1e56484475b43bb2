"""Downloading brings parts of a corpus' release onto the disk, each verified and unpacked whole."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asr.archives import check_gzip, extract_tar
from asr.checksum import Checksum, file_digest
from asr.corpora import Corpus, Part, ReadOptions, Refusal, Release
from asr.errors import AsrError, CorpusError, DownloadError
from asr.files import atomic_write
from asr.transfer import Patience, fetch, read_text

# Records of what was verified lie below the root in this folder, one file a part.
RECORDS = ".asr"
# Lists of checksums name their algorithm in their own names.
_ALGORITHMS = ("sha256", "sha512", "sha1", "md5")


@dataclass(frozen=True)
class PartReport:
    """What became of one part.

    Attributes:
        part: its name.
        place: where it lies, or should lie.
        whole: whether it is there and verified.
        done: one clause that says what was done, or what is wrong.
    """

    part: str
    place: Path
    whole: bool
    done: str


@dataclass(frozen=True)
class DownloadOptions:
    """How to get the parts.

    Attributes:
        mirrors: places to try in this order; the release's own when empty.
        offline: use what lies below the root, and name what is missing.
        delete_archives: once they are unpacked and verified.
        patience: with slow and failing servers.
        incomplete: take a split as it lies there, even if it has fewer utterances than the official
            one.
    """

    mirrors: tuple[str, ...] = ()
    offline: bool = False
    delete_archives: bool = False
    patience: Patience = field(default_factory=Patience)
    incomplete: bool = False


def download_parts(
    corpus: Corpus,
    parts: Sequence[Part],
    root: Path,
    options: DownloadOptions | None = None,
    tell: Callable[[PartReport], None] = lambda report: None,
) -> list[PartReport]:
    """Download, verify and unpack parts; what is whole already is only checked.

    Args:
        corpus: what they are parts of; it has a release.
        parts: which of them.
        root: archives go here, and the corpus into its own folder below, unless splits of it lie
            here already.
        options: how to get them.
        tell: is told of each part as soon as it is done.

    Returns:
        A report for each part; one that fails leaves the others as they are.
    """
    assert corpus.release
    work = _Work(corpus, corpus.release, root.absolute(), options or DownloadOptions())
    reports = []
    for part in parts:
        try:
            report = work.split(part) if part.split else work.file(part)
        except (AsrError, OSError) as error:
            place = work.home / part.split if part.split else root / part.folder / part.file
            report = PartReport(part.name, place, False, str(error))
        reports.append(report)
        tell(report)
    return reports


@dataclass(frozen=True)
class Missing:
    """A part that is not below the root yet.

    Attributes:
        part: of the release.
        url: where it would be downloaded from first.
        place: the file it would go to.
        unpacked: the folder that it would be unpacked to; None for a file that stays as it is.
    """

    part: Part
    url: str
    place: Path
    unpacked: Path | None


def missing_parts(
    corpus: Corpus, parts: Sequence[Part], root: Path, mirrors: Sequence[str] = ()
) -> list[Missing]:
    """Tell which parts are not there at all; nothing is read, counted or written.

    Args:
        corpus: what they are parts of; it has a release.
        parts: which of them.
        root: as for ``download_parts``.
        mirrors: as in ``DownloadOptions``.
    """
    assert corpus.release
    work = _Work(corpus, corpus.release, root.absolute(), DownloadOptions())
    mirror = (*mirrors, *corpus.release.mirrors)[0].rstrip("/")
    found = []
    for part in parts:
        unpacked = work.home / part.split if part.split else None
        place = work.root / part.folder / part.file
        if not (unpacked or place).exists():
            found.append(Missing(part, f"{mirror}/{part.resource}", place, unpacked))
    return found


@dataclass(frozen=True)
class _Work:
    corpus: Corpus
    release: Release
    root: Path
    options: DownloadOptions

    @property
    def home(self) -> Path:
        """The folder of the splits: the root itself where some lie there, else one below it."""
        below = self.root / self.release.top
        splits = [part.split for part in self.release.parts if part.split]
        here = any((self.root / split).is_dir() for split in splits)
        return self.root if here and not below.is_dir() else below

    def file(self, part: Part) -> PartReport:
        """Get a file that stays as it is."""
        place = self.root / part.folder / part.file
        record = self.root / RECORDS / f"{part.name}.json"
        now = {"bytes": place.stat().st_size if place.is_file() else 0, "file": part.file}
        if now["bytes"] and _read(record) == now:
            return PartReport(part.name, place, True, "is whole already")
        if place.is_file():
            self._verify(part, place)
            done = "was there, and is verified now"
        else:
            done = f"downloaded from {self._fetch(part, place)}"
        check_gzip(place)
        _write(record, {"bytes": place.stat().st_size, "file": part.file})
        return PartReport(part.name, place, True, done)

    def split(self, part: Part) -> PartReport:
        """Get an archive and unpack it, unless its content is there."""
        place = self.home / part.split
        record = self.root / RECORDS / f"{part.name}.json"
        if place.is_dir() and (found := self._as_it_lies(part, record)):
            return PartReport(part.name, place, True, found)
        archive = self.root / part.file
        source = "the archive that was there"
        if archive.is_file():
            self._verify(part, archive)
        else:
            source = self._fetch(part, archive)
        extraction = extract_tar(archive, self.home, self.release.top)
        count, faults = self._present(part)
        if faults or count != (part.utterances or count):
            expected = f"; expected {part.utterances}" if part.utterances else ""
            first = f"; not whole: {faults[0].place}: {faults[0].reason}" if faults else ""
            raise DownloadError(
                f"{place} holds {count} utterances after unpacking {archive}{expected}{first}; "
                "delete the archive and run again"
            )
        _write(record, _contents(place, count))
        if self.options.delete_archives:
            archive.unlink()
        kept = f", {extraction.kept} files were there" if extraction.kept else ""
        return PartReport(
            part.name, place, True, f"{count} utterances unpacked from {source}{kept}"
        )

    def _as_it_lies(self, part: Part, record: Path) -> str:
        """Say why a split needs nothing more; empty if it does."""
        place = self.home / part.split
        known = _read(record)
        if isinstance(known, dict):
            count = known.get("utterances", 0)
            if known == _contents(place, count) and count == (part.utterances or count):
                return "is whole already"
        count, faults = self._present(part)
        if self.options.incomplete and count:
            of = f" of {part.utterances}" if part.utterances else ""
            return f"{count}{of} utterances were there, taken as they are"
        # Files that differ from what was verified need the archive, whatever their number.
        if faults or known is not None:
            return ""
        if part.utterances:
            done = f"all {count} utterances were there, unpacked by others"
            whole = count == part.utterances
        else:
            done = f"{count} utterances were there; nothing states how many it should have"
            whole = self.options.offline and not (self.root / part.file).is_file() and count > 0
        if whole:
            # Where nothing can be written, as on a shared disk, it is counted anew every time.
            with suppress(DownloadError):
                _write(record, _contents(place, count))
        return done if whole else ""

    def _present(self, part: Part) -> tuple[int, list[Refusal]]:
        """Count the utterances with text and audio, and collect those with one of them only."""
        try:
            entries = list(self.corpus.read(self.home, part.split, ReadOptions()))
        except CorpusError:
            return 0, []
        faults = [entry for entry in entries if isinstance(entry, Refusal)]
        return len(entries) - len(faults), faults

    def _fetch(self, part: Part, place: Path) -> str:
        mirrors = [mirror.rstrip("/") for mirror in self.options.mirrors or self.release.mirrors]
        if self.options.offline:
            target = f", or unpack it to {self.home}" if part.split else ""
            there = bool(part.split) and (self.home / part.split).is_dir()
            fault = "is not whole, or changed since it was verified" if there else "is missing"
            raise DownloadError(
                f"{part.name} {fault}, and offline nothing is downloaded ({part.gigabytes:g} GB); "
                f"put {mirrors[0]}/{part.resource} at {place}{target}"
            )
        checksum = self._checksum(part, mirrors)
        urls = [f"{mirror}/{part.resource}" for mirror in mirrors]
        return fetch(urls, place, checksum, self.options.patience)

    def _checksum(self, part: Part, mirrors: Sequence[str]) -> Checksum | None:
        if part.sha256:
            return Checksum("sha256", part.sha256, self.release.sha256_source)
        folder = part.resource.rpartition("/")[0]
        for mirror in mirrors:
            for name in self.release.checksum_files:
                url = f"{mirror}/{folder}/{name}"
                digest = _listed(read_text(url, self.options.patience) or "", part.file)
                if digest:
                    algorithm = next(known for known in _ALGORITHMS if name.startswith(known))
                    return Checksum(algorithm, digest, url)
        return None

    def _verify(self, part: Part, place: Path) -> None:
        """Check a file that lay there against the checksum that is stated for it."""
        if part.sha256 and file_digest(place, "sha256") != part.sha256:
            raise DownloadError(
                f"{place} is not the official file: its SHA-256 is not {part.sha256} "
                f"({self.release.sha256_source}); delete it and run again"
            )


def _listed(text: str, file: str) -> str:
    """Find a file's digest in the lines "DIGEST  FILE" of a list of checksums."""
    for line in text.splitlines():
        digest, _, name = line.partition(" ")
        if name.strip().lstrip("*").removeprefix("./") == file:
            return digest.lower()
    return ""


def _contents(folder: Path, utterances: int) -> dict[str, object]:
    """Describe all files of a folder by number, bytes, and a digest of their names and sizes."""
    count = total = 0
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            size = (Path(place) / name).stat().st_size
            count += 1
            total += size
            digest.update(f"{os.path.relpath(place, folder)}/{name}\0{size}\n".encode())
    return {
        "utterances": utterances,
        "files": count,
        "bytes": total,
        "names_and_sizes": digest.hexdigest(),
    }


def _read(record: Path) -> object:
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(record: Path, content: dict[str, object]) -> None:
    try:
        with atomic_write(record) as stream:
            json.dump(content, stream)
    except OSError as error:
        raise DownloadError(f"{record} cannot be written: {error.strerror}") from error
