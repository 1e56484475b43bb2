"""`asr lm` as a user types it."""

import math

import pytest
from lm_texts import LMPLZ

from asr.cli import main
from asr.lm.loading import load_ngram

GOLDEN = LMPLZ.parent / "golden" / "model"


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main(["lm", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_text_to_perplexity(tmp_path, capsys):
    text = LMPLZ / "license.txt"
    lm, arpa = tmp_path / "lm.bin", tmp_path / "lm.arpa.gz"
    code, out, _ = run(capsys, "train", text, "-o", lm, "--arpa", arpa, "--prune", 0, 0, 1, 1)
    assert code == 0
    assert "1,581 words in 169 sentences" in out
    assert f"written to {lm} and {arpa}" in out
    code, out, _ = run(capsys, "perplexity", text, "--lm", lm)
    assert code == 0
    assert "unknown words: 0 (0.00 %)" in out
    for source, target in ((arpa, "again.bin"), (lm, "again.arpa"), (tmp_path / "again.arpa", "c")):
        code, out, _ = run(capsys, "convert", source, "-o", tmp_path / target)
        assert code == 0
    found = load_ngram(tmp_path / "c").score_words([5, 6, 7])
    assert found == pytest.approx(load_ngram(lm).score_words([5, 6, 7]), abs=1e-6)


def test_perplexity_names_unknown_words(tmp_path, capsys):
    lm, other = tmp_path / "lm.bin", tmp_path / "other.txt"
    run(capsys, "train", LMPLZ / "digits.txt", "-o", lm, "--order", 2, "--discount-fallback")
    other.write_text("ONE ELEVEN TWO\nTWELVE ELEVEN\n")
    code, out, _ = run(capsys, "perplexity", other, "--lm", lm)
    assert code == 0
    assert "unknown words: 3 (60.00 %): ELEVEN (2), TWELVE (1)" in out


def test_tokens_of_a_model(tmp_path, capsys):
    from asr.model_folder import load_model

    letters = load_model(GOLDEN).tokenizer.tokens
    word = "".join(letter for letter in letters[1:] if letter != " ")[:3]
    text, lm = tmp_path / "a.txt", tmp_path / "lm.bin"
    text.write_text(f"{word} {word[::-1]}\n{word[0]}\n" * 5)
    options = ("--unit", "token", "-m", GOLDEN, "--order", 2, "--discount-fallback")
    code, out, err = run(capsys, "train", text, "-o", lm, *options)
    assert (code, err) == (0, "")
    code, out, _ = run(capsys, "perplexity", text, "--lm", lm, "-m", GOLDEN)
    assert "perplexity of a token" in out
    values = [float(line.split()[-1]) for line in out.splitlines() if line.startswith("perplexity")]
    assert all(map(math.isfinite, values)) and values[0] < values[1]
    code, _, err = run(capsys, "perplexity", text, "--lm", lm)
    assert code == 3
    assert "-m MODEL" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("train", LMPLZ / "digits.txt", "-o", "x", "--order", 3), 1, "--discount-fallback"),
        (("train", "missing.txt", "-o", "x"), 1, "missing.txt is no file"),
        (("train", LMPLZ / "digits.txt", "-o", "x", "--order", 0), 2, "the order is 0"),
        (("train", LMPLZ / "digits.txt", "-o", "x", "--unit", "token"), 2, "needs -m MODEL"),
        (("train", LMPLZ / "digits.txt", "-o", "x", "-m", GOLDEN), 2, "goes with --unit token"),
        (("convert", LMPLZ / "digits.txt", "-o", "x"), 3, "is no ARPA file"),
        (("perplexity", LMPLZ / "digits.txt", "--lm", "missing.bin"), 3, "no language model"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, *words)
    assert found == code
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["much", "0", "3X"])
def test_impossible_sizes_are_refused(capsys, size):
    with pytest.raises(SystemExit):
        main(["lm", "train", "a.txt", "-o", "x", "--memory", size])
    assert "expected such as 500M" in capsys.readouterr().err
