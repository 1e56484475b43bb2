"""Records say what a step was made from and what came of it, so that it need not be done again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.checksum import file_digest
from asr.files import atomic_write


@dataclass(frozen=True)
class Record:
    """The record of one step.

    Attributes:
        path: a JSON file, written after all else of the step and removed before it begins.
    """

    path: Path

    def facts(self, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give what a finished step had to say, if it need not be done again.

        Args:
            inputs: what the step would be made from now.

        Returns:
            Its facts, or None where inputs differ, an output was changed or removed, or there is
            no record.
        """
        content = self.read()
        if content is None or content.get("inputs") != json.loads(json.dumps(inputs)):
            return None
        outputs = content.get("outputs", {})
        if not outputs or fingerprint(outputs) != outputs:
            return None
        facts = content.get("facts")
        return facts if isinstance(facts, dict) else None

    def difference(self, inputs: Mapping[str, Any]) -> str:
        """Say in a clause why a step is done again; empty if it never was."""
        content = self.read()
        if content is None:
            return ""
        old, new = content.get("inputs", {}), json.loads(json.dumps(inputs))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return f"once more, since {changed[0]}{more} changed"
        return "once more, since its output was changed or removed"

    def begin(self) -> None:
        """Forget an older run of the step before it is done again."""
        self.path.unlink(missing_ok=True)

    def write(
        self, inputs: Mapping[str, Any], outputs: Iterable[Path], facts: Mapping[str, Any]
    ) -> None:
        """Note that a step is done.

        Args:
            inputs: what it was made from, plain values.
            outputs: the files that it made.
            facts: what it has to say, plain values.
        """
        content = {
            "inputs": dict(inputs),
            "outputs": fingerprint(map(str, outputs)),
            "facts": dict(facts),
        }
        with atomic_write(self.path) as stream:
            json.dump(content, stream, indent=1)
            stream.write("\n")

    def read(self) -> dict[str, Any] | None:
        """Give the whole record; None where there is none."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None


def fingerprint(paths: Iterable[str]) -> dict[str, str]:
    """Give the SHA-256 of files by path; an empty one for a file that is not there."""
    return {
        path: file_digest(Path(path), "sha256") if Path(path).is_file() else ""
        for path in sorted(paths)
    }


def files_of(folder: Path) -> list[Path]:
    """List all files of a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
