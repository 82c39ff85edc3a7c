"""Settings: options before variables before the file; shown without what is secret; wrong ones explained."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from covpool.service.commands.serve import serve
from covpool.service.errors import SettingsError
from covpool.service.settings import Settings
from tests.service.running import COVPOOL, environment


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "covpool.toml"
    found.write_text('store = "from-file"\nport = 1\nworkers = 7\nmodels = ["a", "b"]\n')
    monkeypatch.setenv("COVPOOL_CONFIG", str(found))
    return found


@pytest.mark.usefixtures("file")
def test_options_go_before_variables_and_these_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVPOOL_PORT", "2")
    monkeypatch.setenv("COVPOOL_WORKERS", "8")
    found = Settings.read(workers=9, host=None)
    assert (found.store, found.port, found.workers, found.models) == ("from-file", 2, 9, ["a", "b"])
    assert found.host == "127.0.0.1"


def test_what_is_shown_is_a_file_of_the_same_settings(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Settings.read(max_wait_s=1.5, cors_origins=["https://a.example"], device='odd "name" µ')
    again = tmp_path / "again.toml"
    again.write_text("\n".join(line for line in before.shown().splitlines() if not line.startswith("config")))
    monkeypatch.setenv("COVPOOL_CONFIG", str(again))
    assert Settings.read().model_dump(exclude={"config"}) == before.model_dump(exclude={"config"})


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("/models/a", ["/models/a"]),
        ("/models/a,owner/b", ["/models/a", "owner/b"]),
        (" /models/a , owner/b ,", ["/models/a", "owner/b"]),
        ('["/models/a, the first", "b"]', ["/models/a, the first", "b"]),
        (' ["a"]', ["a"]),
        ("", []),
    ],
)
def test_a_list_in_a_variable_or_file_is_plain_text_with_commas_or_json(
    text: str, listed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVPOOL_MODELS", text)
    monkeypatch.setenv("COVPOOL_CORS_ORIGINS", text)
    found = Settings.read()
    assert (found.models, found.cors_origins) == (listed, listed)
    monkeypatch.delenv("COVPOOL_MODELS")
    monkeypatch.delenv("COVPOOL_CORS_ORIGINS")
    (tmp_path / "c.toml").write_text(f"models = {json.dumps(text)}\ncors_origins = {json.dumps(listed)}\n")
    found = Settings.read(config=str(tmp_path / "c.toml"))
    assert (found.models, found.cors_origins) == (listed, listed)
    assert tomllib.loads(found.shown())["models"] == listed


def test_a_list_that_is_broken_json_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVPOOL_MODELS", '["a"')
    with pytest.raises(SettingsError, match=r"models: .*not a JSON list .*; write a,b or"):
        Settings.read()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@db.example/genes",
        "postgresql://ann:s3cret@s3cret/@db.example/genes",
        "postgresql://db.example/genes?user=ann&password=s3cret",
        "postgresql://ann:s3cret@[",
    ],
)
def test_show_config_masks_passwords(url: str) -> None:
    ran = CliRunner().invoke(serve, ["--show-config"], env={"COVPOOL_CATALOG": url})
    assert ran.exit_code == 0, ran.output
    assert "s3cret" not in ran.output
    shown = tomllib.loads(ran.output)
    assert "***" in shown["catalog"]
    assert shown["catalog"].startswith("postgresql://")
    assert "s3cret" not in repr(Settings.read(catalog=url))


def test_every_setting_is_shown_and_said_what_it_is() -> None:
    shown = Settings.read(store="x").shown()
    for name, field in Settings.model_fields.items():
        assert f"{name} = " in shown or f"# {name} is not set" in shown
        assert field.description and f"# {field.description}" in shown
    assert "# store location: a directory\n" in shown
    assert "# port to listen on; 0 takes a free one (default)\n" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("catalogue = 'postgresql://ann:s3cret@db/x'", "catalogue: Extra inputs are not permitted"),
        ("port = 'http'", "port: Input should be a valid integer"),
        ("port = ", "is not TOML"),
        ("config = 'another.toml'", "cannot name another file"),
    ],
)
def test_a_wrong_file_is_explained_without_what_it_holds(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        Settings.read()
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_file_that_is_not_there_is_an_error_and_not_ignored(tmp_path: Path) -> None:
    ran = subprocess.run(
        [COVPOOL, "serve", "--config", str(tmp_path / "none.toml")],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert ran.returncode == 2
    assert "none.toml: cannot be read (No such file or directory)" in ran.stderr
    assert "Traceback" not in ran.stderr
