"""Bearer tokens: digests at rest, scopes, and a service that never opens by accident."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from covpool.service.commands.serve import check_public, serve
from covpool.service.commands.token import token as command
from covpool.service.database.tokens import Scope, Tokens
from covpool.service.errors import RequestError
from covpool.service.http.middleware.auth import OPEN
from covpool.service.settings import Settings
from covpool.store import Store
from covpool.store.testing import example_moments
from covpool.store.values.keys import MomentsKey, sequence_digest, sha256
from tests.service.in_process import SERVED, fill, in_process


def make(directory: Path, name: str, *scopes: Scope) -> str:
    with Store.open(directory) as store:
        return Tokens(store.database).create(name, scopes)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_any_token_nothing_is_asked_for(tmp_path: Path) -> None:
    with in_process(tmp_path) as api:
        assert api.get("/v1/models").status_code == 200


def test_once_a_token_was_made_every_route_needs_one_but_health_and_documents(tmp_path: Path) -> None:
    token = make(tmp_path, "alice", "read")
    with in_process(tmp_path) as api:
        paths = api.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for method in operations:
                response = api.request(method, path.replace("{", "").replace("}", ""))
                if path in OPEN:
                    assert response.status_code != 401
                else:
                    assert response.status_code == 401, path
                    assert response.headers["www-authenticate"].startswith("Bearer")
        assert api.get("/nothing").status_code == 401
        assert api.get("/v1/models", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer covpool_0123456789abcdef_" + "A" * 43, "{}"],
)
def test_what_is_no_token_of_ours_is_refused(tmp_path: Path, header: str) -> None:
    make(tmp_path, "alice", "read")
    with in_process(tmp_path) as api:
        response = api.get("/v1/models", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert "covpool token create" in response.json()["detail"]


def test_a_token_with_one_letter_changed_is_refused(tmp_path: Path) -> None:
    token = make(tmp_path, "alice", "read")
    with in_process(tmp_path) as api:
        for place in (8, len(token) - 1):
            other = token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
            assert api.get("/v1/models", headers=bearer(other)).status_code == 401
        assert api.get("/v1/models", headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_scopes_hold_and_the_larger_include_the_smaller(tmp_path: Path) -> None:
    (key,) = fill(tmp_path, "a")
    tokens: dict[Scope, str] = {scope: make(tmp_path, scope, scope) for scope in ("read", "submit", "admin")}
    asks = {
        "read": ("GET", f"/v1/moments/{key}", None),
        "submit": ("POST", "/v1/jobs", {"input": "ACGT"}),
    }
    with in_process(tmp_path) as api:
        for needed, (method, path, body) in asks.items():
            for held, token in tokens.items():
                response = api.request(method, path, json=body, headers=bearer(token))
                if held == "read" and needed == "submit":
                    assert response.status_code == 403
                    assert "'submit'" in response.json()["detail"]
                else:
                    assert response.status_code in (200, 202), (held, needed)
        job = api.post("/v1/jobs", json={"input": "ACGT"}, headers=bearer(tokens["submit"])).json()["id"]
        assert api.delete(f"/v1/jobs/{job}", headers=bearer(tokens["read"])).status_code == 403
        embed = api.post("/v1/embeddings", json={"input": "ACGT"}, headers=bearer(tokens["read"]))
        assert embed.status_code == 403


def test_a_reading_token_embeds_what_is_cached_and_no_more(tmp_path: Path) -> None:
    cached, missing = "ACGTTGCA" * 5, "GGGTTTAC" * 5
    recipe = SERVED.models["ntv3-mini"].recipe()
    with Store.open(tmp_path) as store:
        store.put(MomentsKey(sequence_digest(cached), len(cached), recipe), example_moments("a", 64))
    read = bearer(make(tmp_path, "reader", "read"))
    submit = bearer(make(tmp_path, "writer", "submit"))
    fasta = {"fasta": ("g.fa", f">a\n{cached}\n".encode())}
    with in_process(tmp_path, max_wait_s=0.0) as api:
        assert api.post("/v1/embeddings", json={"input": cached}, headers=read).status_code == 200
        assert api.post("/v1/embeddings", files=fasta, headers=read).status_code == 200
        refused = api.post("/v1/embeddings", json={"input": [cached, missing]}, headers=read)
        assert refused.status_code == 403
        for words in ("1 of 2 sequences are not cached", "'reader'", "'submit'"):
            assert words in refused.json()["detail"]
        assert api.get("/v1/jobs", headers=read).json()["data"] == [], "it was queued for a reader"
        asked = api.post("/v1/embeddings", json={"input": [cached, missing]}, headers=submit)
        assert asked.status_code == 503
        job = asked.headers["location"].rpartition("/")[2]
        assert api.post("/v1/embeddings", json={"job": job}, headers=read).status_code == 202


def test_a_revoked_token_is_refused_and_revoking_the_last_does_not_open_the_service(tmp_path: Path) -> None:
    token = make(tmp_path, "alice", "read")
    with Store.open(tmp_path) as store:
        Tokens(store.database).revoke("alice")
    with in_process(tmp_path) as api:
        assert api.get("/v1/models", headers=bearer(token)).status_code == 401
        assert api.get("/v1/models").status_code == 401


def test_the_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    token = make(tmp_path, "alice", "read")
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection:
        assert connection.execute("SELECT digest FROM tokens").fetchall() == [(sha256(token),)]
    secret = token.rpartition("_")[2]
    for file in tmp_path.glob("catalog.sqlite*"):
        assert secret[:20].encode() not in file.read_bytes()


def test_names_are_checked_and_not_used_twice(tmp_path: Path) -> None:
    make(tmp_path, "alice", "read")
    for name in ("", "a b", "x" * 65, "a/b", "é", "alice"):
        with pytest.raises(RequestError, match=r"name|in use"):
            make(tmp_path, name, "read")
    with pytest.raises(RequestError, match="no scope"):
        make(tmp_path, "bob")
    with Store.open(tmp_path) as store, pytest.raises(RequestError, match="covpool token list"):
        Tokens(store.database).revoke("bob")


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--store", str(tmp_path)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    text = run("create", "alice", "--scope", "submit").strip()
    with in_process(tmp_path) as api:
        assert api.get("/v1/models", headers=bearer(text)).status_code == 200
    listed = json.loads(run("list", "--json"))
    assert (listed["name"], listed["scopes"], listed["revoked"]) == ("alice", ["submit"], None)
    assert text not in run("list")
    run("revoke", "alice")
    assert json.loads(run("list", "--json"))["revoked"] is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "127.0.0.1", "::1", "localhost"])
def test_a_service_that_others_can_reach_needs_tokens_or_force(tmp_path: Path, host: str) -> None:
    with Store.open(tmp_path) as store:
        tokens = Tokens(store.database)
        here = Settings(store=str(tmp_path), host=host)
        if host in ("127.0.0.1", "::1", "localhost"):
            check_public(here, tokens)
        else:
            with pytest.raises(click.UsageError, match=r"token create.*--public-without-tokens"):
                check_public(here, tokens)
        check_public(here.model_copy(update={"public_without_tokens": True}), tokens)
        tokens.create("alice", ["read"])
        check_public(here, tokens)


def test_serve_refuses_before_it_listens(tmp_path: Path) -> None:
    result = CliRunner().invoke(serve, ["--store", str(tmp_path), "--host", "0.0.0.0", "--port", "0"])
    assert result.exit_code == 2
    assert "--public-without-tokens" in result.output
