"""A release is what a corpus' makers offer for download: which files, where, and their sums."""

from dataclasses import dataclass, field

from asr.errors import UsageError


@dataclass(frozen=True)
class Part:
    """One file of a release.

    Attributes:
        name: what users call it.
        resource: its path below a mirror, such as "12/dev-clean.tar.gz".
        sha256: of the file; empty where no source states it.
        utterances: how many it holds; 0 where no source states it, or it holds none.
        split: the folder of the corpus that it unpacks to; empty for a file that stays as it is.
        folder: for such a file, the folder below the root that it goes to.
        gigabytes: of the file, as the makers state it, for messages.
        hours: of speech, as the makers state them; 0 where they do not.
    """

    name: str
    resource: str
    gigabytes: float
    sha256: str = ""
    utterances: int = 0
    split: str = ""
    folder: str = ""
    hours: float = 0.0

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.resource.rpartition("/")[2]


@dataclass(frozen=True)
class Release:
    """The files of one corpus.

    Attributes:
        mirrors: places that hold them all, in the order to try them.
        top: the folder that all archives unpack to.
        parts: the files.
        groups: names of several parts together.
        sha256_source: who states the checksums.
        checksum_files: lists of checksums that a mirror may offer beside a file.
        licence: for people to know before they download.
    """

    mirrors: tuple[str, ...]
    top: str
    parts: tuple[Part, ...]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sha256_source: str = ""
    checksum_files: tuple[str, ...] = ("sha256sum.txt", "md5sum.txt")
    licence: str = ""

    def choose(self, names: list[str]) -> list[Part]:
        """Find parts by their names or their groups' names.

        Args:
            names: in any order; a part that is named twice is given once.

        Returns:
            The parts in the release's own order.

        Raises:
            UsageError: no part or group has such a name.
        """
        known = {part.name for part in self.parts}
        wanted: set[str] = set()
        for name in names:
            if name not in known and name not in self.groups:
                raise UsageError(
                    f"there is no part '{name}'; there are "
                    f"{', '.join([*self.groups, *(part.name for part in self.parts)])}"
                )
            wanted |= set(self.groups.get(name, (name,)))
        return [part for part in self.parts if part.name in wanted]
