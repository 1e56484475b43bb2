"""A small score with what tends to break reports: markup, empty sides, words of other scripts."""

from asr.scoring.breakdown import break_down, length_groups
from asr.scoring.confusions import frequent_errors
from asr.scoring.details import Details
from asr.scoring.intervals import Interval
from asr.scoring.report_folder import write_report
from asr.scoring.score import score_pairs

EVIL = '</script><script>alert("1")</script><!-- <b>& \' " \\u2028 \u2028'
REFERENCES = {
    "7-a-0001": "THE CAT SAT ON THE MAT",
    "7-a-0002": "",
    "7-a-0003": f"{EVIL} A",
    "19-b-0001": "A DOG",
    "19-b-0002": "ÉTÉ 你 好",
}
HYPOTHESES = {
    "7-a-0001": "THE CAT SAID ON MAT AH",
    "7-a-0002": "OH",
    "7-a-0003": f"{EVIL} B",
    "19-b-0002": "ÉTÉ 你 好",
}
SPEAKERS = {identity: identity.split("-")[0] for identity in REFERENCES}
DURATIONS = {identity: 1.5 + place for place, identity in enumerate(REFERENCES)}
CONFIDENCES = {"7-a-0001": (0.9, 0.8, 0.3, 1.0, 0.7, 0.0), "7-a-0002": (0.5,)}
DETAILS = Details(SPEAKERS, DURATIONS, confidences=CONFIDENCES)
INTERVAL = Interval(0.25, 0.75, 0.95, "speakers", 1000)
NAMES = {
    *("report.html", "report.json", "report.csv", "report.sys", "report.pra", "report.dtl"),
    *("ref.trn", "hyp.trn", "ref.stm"),
}
SCORE = score_pairs(REFERENCES, HYPOTHESES)


def write(folder, details=DETAILS, score=SCORE, title="system <A>", **more):
    """Write the report of a score and give the names of its files."""
    written = write_report(
        folder,
        score,
        details,
        title=title,
        normalizer="none (version 1)",
        interval=INTERVAL,
        confusions=frequent_errors(score),
        groups={
            "speaker": break_down(score, details.speakers),
            "length": break_down(score, length_groups(score)),
        },
        **more,
    )
    return {path.name for path in written}
