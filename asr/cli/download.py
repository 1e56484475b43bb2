"""`asr download`: bring parts of a corpus onto the disk, verified and unpacked."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.download import PartReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `asr download` takes.

    Args:
        parser: of this verb.
    """
    from asr.corpora import CORPORA

    lines = []
    for name, corpus in CORPORA.items():
        if corpus.release is None:
            continue
        lines += [f"parts of {name} ({corpus.release.licence}):"]
        lines += [f"  {p.name:16} {p.gigabytes:6g} GB  {p.resource}" for p in corpus.release.parts]
        lines += [f"groups of {name}:"]
        lines += [f"  {group:16} {' '.join(n)}" for group, n in corpus.release.groups.items()]
        lines += ["mirrors, tried in this order:", *(f"  {m}" for m in corpus.release.mirrors)]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(lines)
    known = [name for name, corpus in CORPORA.items() if corpus.release]
    parser.add_argument("corpus", choices=known, metavar="CORPUS", help=", ".join(known))
    parser.add_argument(
        "--parts", required=True, metavar="A,B", help="parts or groups of those below"
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="archives go here, and the corpus into its own folder below",
    )
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="take this mirror instead of those below; several are tried in their order",
    )
    parser.add_argument(
        "--offline", action="store_true", help="download nothing; name what is missing"
    )
    parser.add_argument(
        "--delete-archives", action="store_true", help="once they are unpacked and verified"
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=5,
        metavar="N",
        help="attempts in a row that bring nothing before a mirror is given up "
        "(default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Download the parts and say what became of each.

    Args:
        args: as ``add_arguments`` describes them.

    Returns:
        0, or 1 where a part is missing or wrong.

    Raises:
        UsageError: no part has such a name, or a number is impossible.
    """
    from asr.corpora import CORPORA
    from asr.download import DownloadOptions, download_parts
    from asr.errors import UsageError
    from asr.transfer import Patience

    if args.retries < 0:
        raise UsageError(f"--retries is {args.retries}; expected 0 or more")
    corpus = CORPORA[args.corpus]
    assert corpus.release
    parts = corpus.release.choose([name for name in args.parts.split(",") if name])
    if not parts:
        raise UsageError("--parts names no part; `asr download --help` lists them")
    options = DownloadOptions(
        mirrors=tuple(args.mirror),
        offline=args.offline,
        delete_archives=args.delete_archives,
        patience=Patience(retries=args.retries),
    )
    reports = download_parts(corpus, parts, args.root, options, _tell)
    failed = [report.part for report in reports if not report.whole]
    if failed:
        print(f"asr download: {len(failed)} of {len(reports)} parts failed", file=sys.stderr)
        return 1
    print(f"next: asr prepare {args.corpus} --root {args.root} -o data/{args.corpus}")
    return 0


def _tell(report: "PartReport") -> None:
    if report.whole:
        print(f"{report.part}: {report.done} [{report.place}]", flush=True)
    else:
        print(f"failed: {report.part}: {report.done}", file=sys.stderr, flush=True)
