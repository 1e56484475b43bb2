"""Downloads against a server that fails: resumed, verified, unpacked, or refused by name."""

import errno
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrors import Fault, Mirror, corpus_of, pack, serve

import asr.transfer
from asr.archives import extract_tar
from asr.checksum import Checksum
from asr.cli import main
from asr.corpora import CORPORA
from asr.download import DownloadOptions, download_parts
from asr.errors import DownloadError, UsageError
from asr.transfer import Patience, fetch

QUICK = Patience(retries=2, pause_seconds=0.0, timeout_seconds=5.0)
BODY = bytes(range(256)) * 4096
SUM = Checksum("sha256", hashlib.sha256(BODY).hexdigest(), "this test")
FILE = "/12/file.bin"


@pytest.fixture
def mirror(archives: dict[str, bytes]) -> Iterator[Mirror]:
    with serve({**archives, FILE: BODY}) as running:
        yield running


def get(corpus, root: Path, *names: str, **options):
    chosen = corpus.release.choose(list(names) or ["dev-clean"])
    return download_parts(corpus, chosen, root, DownloadOptions(patience=QUICK, **options))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_cut_connection_goes_on_where_it_broke(mirror, tmp_path):
    mirror.faults[FILE] = [Fault(cut_after=300_000), Fault(cut_after=200_001)]
    fetch([mirror.url + FILE], tmp_path / "file", SUM, QUICK)
    assert (tmp_path / "file").read_bytes() == BODY
    assert mirror.ranges_of(FILE) == ["", "bytes=300000-", "bytes=500001-"]


def test_another_call_goes_on_behind_what_an_earlier_one_received(mirror, tmp_path):
    place = tmp_path / "file"
    mirror.faults[FILE] = [Fault(cut_after=300_000), *3 * [Fault(cut_after=0)]]
    with pytest.raises(DownloadError, match=r"ended after 300000 of 1048576 bytes.*Run again"):
        fetch([mirror.url + FILE], place, None, QUICK)
    assert not place.exists()
    fetch([mirror.url + FILE], place, None, QUICK)
    assert place.read_bytes() == BODY
    assert mirror.ranges_of(FILE)[-1] == "bytes=300000-"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.lock", "file"]


def test_a_server_without_ranges_sends_all_again(mirror, tmp_path):
    mirror.ranges = False
    mirror.faults[FILE] = [Fault(cut_after=300_000)]
    fetch([mirror.url + FILE], tmp_path / "file", SUM, QUICK)
    assert (tmp_path / "file").read_bytes() == BODY
    assert mirror.ranges_of(FILE) == ["", "bytes=300000-"]


def test_a_server_without_ranges_that_always_cuts_is_given_up(mirror, tmp_path):
    mirror.ranges = False
    mirror.faults[FILE] = [Fault(cut_after=1000) for _ in range(9)]
    with pytest.raises(DownloadError, match="ended after 1000 of 1048576 bytes"):
        fetch([mirror.url + FILE], tmp_path / "file", SUM, QUICK)


def test_a_file_that_changed_on_the_server_is_begun_anew(mirror, tmp_path):
    mirror.faults[FILE] = [Fault(cut_after=1000), *3 * [Fault(status=503)]]
    with pytest.raises(DownloadError):
        fetch([mirror.url + FILE], tmp_path / "file", None, QUICK)
    mirror.files[FILE] = BODY[::-1]
    fetch([mirror.url + FILE], tmp_path / "file", None, QUICK)
    assert (tmp_path / "file").read_bytes() == BODY[::-1]


def test_a_busy_server_is_asked_again_and_told_how_long_to_wait(mirror, tmp_path, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(asr.transfer.time, "sleep", waited.append)
    mirror.faults[FILE] = [Fault(status=503, retry_after="7"), Fault(status=503)]
    fetch([mirror.url + FILE], tmp_path / "file", SUM, Patience(retries=2, pause_seconds=1.0))
    assert (tmp_path / "file").read_bytes() == BODY
    assert waited == [7.0, 2.0]


@pytest.mark.parametrize("bad", ["missing", "silent", "wrong", "cutting"])
def test_the_next_mirror_helps_out(bad, mirror, tmp_path):
    with serve({FILE: BODY}) as first:
        if bad == "missing":
            first.files.clear()
        elif bad == "wrong":
            first.files[FILE] = BODY[:-1] + b"?"
        elif bad == "cutting":
            first.faults[FILE] = [Fault(cut_after=5000), *5 * [Fault(cut_after=0)]]
        url = "http://127.0.0.1:9" if bad == "silent" else first.url
        source = fetch([url + FILE, mirror.url + FILE], tmp_path / "file", SUM, QUICK)
    assert source == mirror.url + FILE
    assert (tmp_path / "file").read_bytes() == BODY
    if bad == "cutting":
        # What the first mirror gave is kept, since the checksum will tell.
        assert mirror.ranges_of(FILE) == ["bytes=5000-"]


def test_wrong_bytes_everywhere_are_refused_and_removed(mirror, tmp_path):
    other = Checksum("sha256", "0" * 64, "this test")
    with pytest.raises(DownloadError, match=r"its sha256 is not 0{64} \(this test\)"):
        fetch([mirror.url + FILE], tmp_path / "file", other, QUICK)
    assert [path.name for path in tmp_path.iterdir()] == [".file.lock"]


def test_a_mixture_of_two_versions_is_received_once_more(mirror, tmp_path):
    mirror.faults[FILE] = [Fault(cut_after=1000), *3 * [Fault(status=503)]]
    mirror.files[FILE] = BODY[::-1]
    with pytest.raises(DownloadError):
        fetch([mirror.url + FILE], tmp_path / "file", SUM, QUICK)
    with serve({FILE: BODY}) as good:
        fetch([good.url + FILE], tmp_path / "file", SUM, QUICK)
        assert good.ranges_of(FILE) == ["bytes=1000-", ""]
    assert (tmp_path / "file").read_bytes() == BODY


def test_only_http_is_a_place_to_download_from(tmp_path):
    with pytest.raises(UsageError, match="'/etc/passwd' is no place to download from"):
        fetch(["/etc/passwd"], tmp_path / "file")


def test_a_disk_without_room_is_known_before_the_download(mirror, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(asr.transfer.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"needs 0\.00 GB more, but the disk of .* make room"):
        fetch([mirror.url + FILE], tmp_path / "file", SUM, QUICK)


def test_a_disk_that_fills_up_keeps_what_was_received(mirror, tmp_path, monkeypatch):
    place = tmp_path / "file"
    whole = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == ".file.part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(descriptor)

    monkeypatch.setattr(asr.transfer.os, "fsync", full)
    mirror.faults[FILE] = [Fault(cut_after=400_000)]
    with pytest.raises(DownloadError, match=r"No space left on device; make room.* is kept"):
        fetch([mirror.url + FILE], place, SUM, QUICK)
    monkeypatch.setattr(asr.transfer.os, "fsync", whole)
    fetch([mirror.url + FILE], place, SUM, QUICK)
    assert place.read_bytes() == BODY
    assert mirror.ranges_of(FILE) == ["", "bytes=400000-"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 900 kB, where the system lets one be made."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=900k none '{place}' 2>/dev/null"):
        pytest.skip("no small disk can be mounted here")
    yield place
    os.system(f"umount '{place}'")


def test_a_really_full_disk_is_named_and_room_lets_it_go_on(small_disk, archives, mirror):
    corpus = corpus_of(archives, mirror.url)
    ballast = small_disk / "ballast"
    size = len(archives["/12/dev-clean.tar.gz"])
    # Room for the archive, but not for all that is in it.
    ballast.write_bytes(bytes(900 * 1024 - size - 60_000))
    (report,) = get(corpus, small_disk)
    assert not report.whole
    assert "No space left on device; make room and run again" in report.done
    ballast.unlink()
    (report,) = get(corpus, small_disk)
    assert report.whole, report.done
    assert len(mirror.ranges_of("/12/dev-clean.tar.gz")) == 1
    assert not list(small_disk.rglob("*.part"))


def test_a_part_is_downloaded_verified_and_unpacked_once(mirror, archives, spoken, tmp_path):
    corpus = corpus_of(archives, mirror.url)
    names = ["dev-clean", "train-clean-5", "lm"]
    assert [report.whole for report in get(corpus, tmp_path, *names)] == [True] * 3
    unpacked = tree(tmp_path / "LibriSpeech")
    assert unpacked == tree(spoken)
    assert (tmp_path / "lm/lm.txt.gz").read_bytes() == archives["/11/lm.txt.gz"]
    asked = len(mirror.requests)
    reports = get(corpus, tmp_path, *names)
    assert [report.done for report in reports] == ["is whole already"] * 3
    assert len(mirror.requests) == asked


def test_a_file_that_was_damaged_since_is_unpacked_again(mirror, archives, spoken, tmp_path):
    corpus = corpus_of(archives, mirror.url)
    get(corpus, tmp_path)
    audio = sorted((tmp_path / "LibriSpeech").rglob("*.flac"))
    audio[0].write_bytes(b"short")
    audio[1].unlink()
    (report,) = get(corpus, tmp_path)
    assert report.whole and "the archive that was there, " in report.done
    assert tree(tmp_path / "LibriSpeech/dev-clean") == tree(spoken / "dev-clean")
    assert len(mirror.ranges_of("/12/dev-clean.tar.gz")) == 1


def test_an_interrupted_extraction_goes_on_and_keeps_what_is_right(archives, spoken, tmp_path):
    archive = tmp_path / "dev-clean.tar.gz"
    archive.write_bytes(archives["/12/dev-clean.tar.gz"])
    target = tmp_path / "LibriSpeech"
    assert extract_tar(archive, target, "LibriSpeech").kept == 0
    files = sorted(target.rglob("*.flac"))
    files[0].unlink()
    # Of the right size, as after a power failure.
    files[1].write_bytes(bytes(files[1].stat().st_size))
    untouched = files[2].stat().st_mtime_ns
    again = extract_tar(archive, target, "LibriSpeech")
    assert (again.written, again.kept) == (2, len(tree(target)) - 2)
    assert files[2].stat().st_mtime_ns == untouched
    assert tree(target / "dev-clean") == tree(spoken / "dev-clean")


@pytest.mark.parametrize("share", [0.5, 0.9999])
def test_a_truncated_archive_is_named_and_others_go_on(share, mirror, archives, tmp_path):
    whole = archives["/31/train-clean-5.tar.gz"]
    mirror.files["/31/train-clean-5.tar.gz"] = whole[: int(len(whole) * share)]
    reports = get(corpus_of(archives, mirror.url), tmp_path, "dev-clean", "train-clean-5")
    assert [report.whole for report in reports] == [True, False]
    assert "train-clean-5.tar.gz is damaged or was cut; it can be read up to" in reports[1].done
    assert not list(tmp_path.rglob("*.json.part"))


def test_a_list_of_checksums_on_the_server_is_used(mirror, archives, tmp_path):
    corpus = corpus_of(archives, mirror.url)
    mirror.files["/31/md5sum.txt"] = b"00000000000000000000000000000000  train-clean-5.tar.gz\n"
    (report,) = get(corpus, tmp_path, "train-clean-5")
    assert "its md5 is not 0000" in report.done and "/31/md5sum.txt" in report.done
    right = hashlib.md5(archives["/31/train-clean-5.tar.gz"]).hexdigest()
    mirror.files["/31/md5sum.txt"] = f"{right}  train-clean-5.tar.gz\n".encode()
    (report,) = get(corpus, tmp_path, "train-clean-5")
    assert report.whole


def test_a_wrong_number_of_utterances_is_refused(mirror, archives, tmp_path):
    (report,) = get(corpus_of(archives, mirror.url, utterances=9), tmp_path)
    assert not report.whole
    assert "holds 8 utterances after unpacking" in report.done and "expected 9" in report.done


def test_a_transcript_without_audio_is_no_whole_part(mirror, archives, spoken, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(spoken, copy)
    gone = sorted((copy / "train-clean-5").rglob("*.flac"))[0]
    gone.unlink()
    mirror.files["/31/train-clean-5.tar.gz"] = pack(copy, "train-clean-5")
    (report,) = get(corpus_of(archives, mirror.url), tmp_path / "root", "train-clean-5")
    assert "holds 49 utterances after" in report.done and "without audio" in report.done


def test_offline_names_what_is_missing_and_where_to_put_it(mirror, archives, tmp_path):
    corpus = corpus_of(archives, mirror.url)
    reports = get(corpus, tmp_path, "dev-clean", "lm", offline=True)
    assert not mirror.requests
    assert f"put {mirror.url}/12/dev-clean.tar.gz at {tmp_path}/dev-clean.tar.gz" in reports[0].done
    assert f"unpack it to {tmp_path}/LibriSpeech" in reports[0].done
    assert f"at {tmp_path}/lm/lm.txt.gz" in reports[1].done
    (tmp_path / "dev-clean.tar.gz").write_bytes(archives["/12/dev-clean.tar.gz"])
    (report,) = get(corpus, tmp_path, offline=True)
    assert report.whole and not mirror.requests


def test_an_archive_that_was_put_there_is_verified(mirror, archives, tmp_path):
    (tmp_path / "dev-clean.tar.gz").write_bytes(b"something else")
    (report,) = get(corpus_of(archives, mirror.url), tmp_path)
    assert "is not the official file: its SHA-256 is not" in report.done


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_a_corpus_that_others_unpacked_is_taken_if_it_is_whole(below, archives, spoken, tmp_path):
    shutil.copytree(spoken, tmp_path / below, dirs_exist_ok=True)
    (report,) = get(corpus_of(archives), tmp_path, offline=True)
    assert report.whole and "all 8 utterances were there" in report.done
    # The same files are not whole where more are expected; and to take them so once is no proof.
    corpus = corpus_of(archives, "http://x", utterances=9)
    for _ in range(2):
        (report,) = get(corpus, tmp_path / below, offline=True)
        assert not report.whole and "is not whole" in report.done
        (report,) = get(corpus, tmp_path / below, offline=True, incomplete=True)
        assert report.whole and "8 of 9 utterances were there, taken as they are" in report.done


def test_a_whole_corpus_where_nothing_can_be_written_is_taken_too(archives, spoken, tmp_path):
    shutil.copytree(spoken, tmp_path, dirs_exist_ok=True)
    # Stands in for a read-only disk, which does not keep root from writing.
    (tmp_path / ".asr").write_text("in the way")
    for _ in range(2):
        (report,) = get(corpus_of(archives), tmp_path, offline=True)
        assert report.whole and "all 8 utterances were there" in report.done


def crafted(tmp_path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    archive = tmp_path / "bad.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        member.size = 4 if kind == tarfile.REGTYPE else 0
        members.addfile(member, io.BytesIO(b"evil"))
    return archive


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("LibriSpeech/../../evil", tarfile.REGTYPE, ""),
        ("../evil", tarfile.REGTYPE, ""),
        ("/tmp/evil", tarfile.REGTYPE, ""),
        ("elsewhere/evil", tarfile.REGTYPE, ""),
        ("LibriSpeech/evil", tarfile.SYMTYPE, "/etc"),
        ("LibriSpeech/evil", tarfile.LNKTYPE, "LibriSpeech/x"),
        ("LibriSpeech/evil", tarfile.FIFOTYPE, ""),
    ],
)
def test_nothing_is_unpacked_outside_of_its_folder(name, kind, link, tmp_path):
    archive = crafted(tmp_path, name, kind, link)
    with pytest.raises(DownloadError, match=r"which (lies outside of|is a link or a device)"):
        extract_tar(archive, tmp_path / "deep/target", "LibriSpeech")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_that_lies_in_the_way_is_replaced_and_not_followed(archives, spoken, tmp_path):
    archive = tmp_path / "dev-clean.tar.gz"
    archive.write_bytes(archives["/12/dev-clean.tar.gz"])
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    target = tmp_path / "LibriSpeech"
    target.mkdir()
    (target / "SPEAKERS.TXT").symlink_to(victim)
    extract_tar(archive, target, "LibriSpeech")
    assert victim.read_bytes() == b"mine"
    assert (target / "SPEAKERS.TXT").read_bytes() == (spoken / "SPEAKERS.TXT").read_bytes()


def test_the_verb_reports_and_its_exit_code_tells(mirror, archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CORPORA, "librispeech", corpus_of(archives, "http://127.0.0.1:9"))
    words = ["download", "librispeech", "--root", str(tmp_path), "--retries", "0"]
    assert main([*words, "--parts", "dev-clean", "--mirror", mirror.url]) == 0
    assert "dev-clean: 8 utterances unpacked from http://127.0.0.1" in capsys.readouterr().out
    assert main([*words, "--parts", "dev-clean,lm", "--offline"]) == 1
    printed = capsys.readouterr()
    assert "dev-clean: is whole already" in printed.out
    assert "failed: lm: lm is missing" in printed.err and "1 of 2 parts failed" in printed.err
    assert main([*words, "--parts", "lmm"]) == 2
    assert "there is no part 'lmm'" in capsys.readouterr().err


def test_checksums_and_counts_are_those_that_others_state():
    from torchaudio.datasets import librispeech as stated

    release = CORPORA["librispeech"].release
    assert release is not None
    sums = {p.file: p.sha256 for p in release.parts if p.sha256}
    theirs = {url.rpartition("/")[2]: value for url, value in stated._CHECKSUMS.items()}
    assert sums == theirs
    counts = {p.name: p.utterances for p in release.parts if p.utterances}
    assert counts == {
        "dev-clean": 2703,
        "dev-other": 2864,
        "test-clean": 2620,
        "test-other": 2939,
        "train-clean-100": 28539,
        "train-clean-360": 104014,
        "train-other-500": 148688,
    }
    assert {p.split for p in release.parts} - {""} <= set(sums_of_splits())


def sums_of_splits() -> tuple[str, ...]:
    from asr.corpora.librispeech import SPLITS

    return SPLITS
