"""The wheel carries configs and recipes, and works from any directory without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("conf", "recipes")
    for path in (ROOT / folder).rglob("*.yaml")
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run([sys.executable, *build], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it and nothing else."""
    place = tmp_path_factory.mktemp("site")
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([sys.executable, *install, str(wheel)], check=True)
    return place


def run(site: Path, place: Path, *words: str) -> str:
    """Run Python in another directory with the installed wheel before all else; give stdout."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_holds_every_config_and_recipe(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"asr/_share/{name}" for name in CONFIGS} <= names
    assert {"asr/py.typed", "asr/cli/train.py", "asr/output/transcript.schema.json"} <= names
    assert {f"asr/scoring/page.{kind}" for kind in ("html", "css", "js")} <= names
    assert not [name for name in names if not name.startswith(("asr/", "asr-"))]
    assert not [name for name in names if "__pycache__" in name]


def test_the_installed_package_is_the_one_that_runs(site, tmp_path):
    assert run(site, tmp_path, "-c", "import asr; print(asr.__file__)").startswith(str(site))


def test_help_works_from_any_directory(site, tmp_path):
    assert "usage: asr VERB" in run(site, tmp_path, "-m", "asr", "--help")


def test_configs_are_found_from_any_directory(site, tmp_path):
    printed = yaml.safe_load(
        run(site, tmp_path, "-m", "asr", "train", "--cfg", "job", "recipes=spoken/demo")
    )
    assert printed["name"] == "spoken-demo"
    assert printed["model"]["encoder"]["kind"] == "gru"
    assert list(tmp_path.iterdir()) == []
