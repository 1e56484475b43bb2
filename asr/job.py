"""A job: many inputs transcribed into the files of a folder, logged, and gone on with."""

import os
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import __version__
from asr.errors import UsageError
from asr.files import atomic_write
from asr.inputs import STANDARD_INPUT, Input
from asr.output import format_named, suffix_of
from asr.run_log import FAILED, OK, Entry, RunLog, fingerprint
from asr.segments import Shape

if TYPE_CHECKING:
    from asr.transcriber import TranscribeOptions, Transcriber
    from asr.transcript import Transcript

_WRITES_AHEAD = 64
_PART_NAME = re.compile(r"\.(.+)\.(\d+)\.part")


@dataclass(frozen=True)
class Summary:
    """How a job ended.

    Attributes:
        written: inputs transcribed now.
        skipped: inputs whose outputs were there already.
        failed: inputs that could not be transcribed.
        left: inputs not tried, since the job stops at the first failure.
    """

    written: int
    skipped: int
    failed: int
    left: int


class Job:
    """Transcribes inputs into an output folder.

    Outputs are formatted and written in a thread while the next ones are computed. Each appears
    whole or not at all, and is in the run log once it is there.

    Args:
        inputs: what to transcribe.
        folder: for the outputs and the run log; made if needed.
        formats: names out of ``asr.output.FORMATS``.
        shape: of segments and lines.
        model: digest of the model folder.
        options: whatever else can change an output, for the fingerprint.
        skip_existing: leave out inputs whose outputs were made by the same model, options and
            input.

    Raises:
        UsageError: an output would replace an input.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        folder: Path,
        formats: Sequence[str],
        *,
        shape: Shape,
        model: str,
        options: Mapping[str, Any],
        skip_existing: bool = False,
    ) -> None:
        self._folder = folder
        self._formats = formats
        self._shape = shape
        own = {os.path.realpath(each.path) for each in inputs}
        for each in inputs:
            for output in self._outputs(each):
                if os.path.realpath(folder / output) in own:
                    raise UsageError(
                        f"{folder / output} is an input and would be replaced by an output; name "
                        "another output folder"
                    )
        self._log = RunLog(folder)
        settings = {**options, "shape": vars(shape), "version": __version__}
        self._marks = {
            each.shown: fingerprint(model, settings, each.path, each.shown == STANDARD_INPUT)
            for each in inputs
        }
        self.pending = [
            each
            for each in inputs
            if not (
                skip_existing
                and self._log.is_done(each.shown, self._marks[each.shown], self._outputs(each))
            )
        ]
        self._skipped = len(inputs) - len(self.pending)
        self._remove_parts()

    def _outputs(self, each: Input) -> list[str]:
        return [f"{each.name}.{suffix_of(form)}" for form in self._formats]

    def _remove_parts(self) -> None:
        """Remove what runs that were killed left half-written of the outputs to be made."""
        expected: dict[Path, set[str]] = {}
        for each in self.pending:
            for output in self._outputs(each):
                place = self._folder / output
                expected.setdefault(place.parent, set()).add(place.name)
        for folder, names in expected.items():
            with suppress(FileNotFoundError):
                for part in list(folder.iterdir()):
                    match = _PART_NAME.fullmatch(part.name)
                    if match and match[1] in names and not _is_running(int(match[2])):
                        part.unlink(missing_ok=True)

    def log_problem(self, name: str, error: str) -> None:
        """Log what was named and is no input."""
        self._log.add(
            Entry(name, FAILED, error, (), None, 0.0, 0.0, None, 0, (), "", _now()),
        )

    def run(
        self,
        recognizer: "Transcriber",
        options: "TranscribeOptions",
        *,
        stop_on_error: bool = False,
        progress: Callable[[float], None] | None = None,
        report: Callable[["Transcript"], None] | None = None,
    ) -> Summary:
        """Transcribe what is to be done.

        Args:
            recognizer: the model.
            options: how to transcribe.
            stop_on_error: stop at the first input that fails.
            progress: called with the seconds of audio encoded since it was called last.
            report: called with each transcript, failed ones too, once it is there.

        Raises:
            OSError: an output or the log cannot be written.
        """
        failed = written = 0
        paths = [each.path for each in self.pending]
        results = recognizer.transcribe_unordered(paths, options, progress)
        writer = ThreadPoolExecutor(1, thread_name_prefix="asr-writer")
        writes: deque[Future[None]] = deque()
        try:
            for index, transcript in results:
                each = self.pending[index]
                shown = replace(transcript, path=each.shown, id=each.name)
                writes.append(writer.submit(self._write, each, shown))
                while len(writes) > _WRITES_AHEAD or (writes and writes[0].done()):
                    writes.popleft().result()
                if report is not None:
                    report(shown)
                if shown.error is None:
                    written += 1
                else:
                    failed += 1
                    if stop_on_error:
                        break
            for write in writes:
                write.result()
        finally:
            results.close()
            writer.shutdown(wait=True, cancel_futures=True)
        return Summary(written, self._skipped, failed, len(paths) - written - failed)

    def _write(self, each: Input, transcript: "Transcript") -> None:
        outputs: tuple[str, ...] = ()
        if transcript.error is None:
            outputs = tuple(self._outputs(each))
            for form, output in zip(self._formats, outputs, strict=True):
                with atomic_write(self._folder / output) as stream:
                    stream.write(format_named(form, transcript, self._shape))
        decoded, spent = transcript.decoded_seconds, transcript.processing_seconds
        self._log.add(
            Entry(
                input=each.shown,
                status=FAILED if transcript.error else OK,
                error=transcript.error,
                warnings=transcript.warnings,
                declared_seconds=transcript.declared_seconds,
                decoded_seconds=decoded,
                processing_seconds=round(spent, 4),
                real_time_factor=round(spent / decoded, 6) if decoded else None,
                words=len(transcript.words),
                outputs=outputs,
                fingerprint=self._marks[each.shown],
                finished=_now(),
            )
        )


def _is_running(process: int) -> bool:
    # Nothing of this process is half-written yet: an old one may have had the same number.
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
