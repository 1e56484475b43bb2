"""Words become segments: cut at pauses, short enough to read, and no word lost, moved or cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.words import Word
from asr.errors import UsageError
from asr.segments import MAX_SECONDS, Shape, make_segments, wrap_words


def spoken(*parts, pace=0.3):
    """Words, each as long as ``pace``; a number is a pause in seconds."""
    words, time = [], 0.0
    for part in parts:
        if isinstance(part, str):
            for text in part.split():
                words.append(Word(text, round(time, 3), round(time + pace, 3), 0.9))
                time += pace
        else:
            time += part
    return words


def texts(words, **shape):
    return [segment.text for segment in make_segments(words, shape=Shape(**shape))]


def test_a_pause_ends_a_segment():
    words = spoken("A B", 0.79, "C", 0.81, "D E")
    assert texts(words) == ["A B C", "D E"]
    assert texts(words, max_pause_seconds=0.5) == ["A B", "C", "D E"]


def test_what_is_too_long_is_cut_at_its_longest_pause():
    words = spoken("ONE TWO THREE", 0.4, "FOUR FIVE SIX SEVEN EIGHT")
    assert texts(words, max_line_width=19, max_line_count=1) == [
        "ONE TWO THREE",
        "FOUR FIVE SIX",
        "SEVEN EIGHT",
    ]


def test_without_pauses_the_last_two_segments_come_out_alike():
    words = spoken("A B C D E F G H I", pace=0.1)
    assert texts(words, max_line_width=13, max_line_count=1) == ["A B C D E", "F G H I"]


def test_no_segment_lasts_longer_than_a_reader_waits():
    words = spoken("A " * 40, pace=0.5)
    segments = make_segments(words)
    assert all(segment.end - segment.start <= MAX_SECONDS for segment in segments)


def test_a_segment_tells_its_times_text_and_channel():
    (segment,) = make_segments(spoken(0.5, "HELLO WORLD"), "2")
    assert (segment.start, segment.end) == (0.5, 1.1)
    assert (segment.text, segment.channel) == ("HELLO WORLD", "2")


def test_no_words_make_no_segments():
    assert make_segments([]) == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0, 2)), max_size=60),
    st.integers(1, 50),
    st.integers(1, 3),
)
def test_all_words_stay_whole_and_in_order_and_fit(lengths, width, count):
    parts = [part for length, pause in lengths for part in ("X" * length, pause)]
    words = spoken(*parts)
    shape = Shape(width, count, 1.0)
    segments = make_segments(words, shape=shape)
    assert [word for segment in segments for word in segment.words] == words
    for segment in segments:
        lines = wrap_words([word.text for word in segment.words], width)
        assert " ".join(lines).split() == [word.text for word in segment.words]
        assert len(segment.words) == 1 or len(lines) <= count
        assert all(len(line) <= width or " " not in line for line in lines)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("THE CAT SAT ON THE MAT", 42, ["THE CAT SAT ON THE MAT"]),
        ("THE CAT SAT ON THE MAT", 21, ["THE CAT SAT", "ON THE MAT"]),
        ("A EXTRAORDINARILY B", 5, ["A", "EXTRAORDINARILY", "B"]),
        ("", 5, []),
    ],
)
def test_lines_are_few_and_even(text, width, lines):
    assert wrap_words(text.split(), width) == lines


@pytest.mark.parametrize("shape", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0), (1, 1, float("nan"))])
def test_a_shape_without_room_is_refused(shape):
    with pytest.raises(UsageError, match="expected"):
        Shape(*shape)
