"""A repository whose second remote keeps its server's tags under a name of its own."""

from __future__ import annotations

from tests.harness import Client, Server


def test_a_push_to_a_second_remote_ends_without_an_error_and_a_fetch_brings_its_tags(
    server: Server, client: Client, name: str
) -> None:
    client.git("remote", "add", "staging", server.remote(f"{name}-staging"))
    client.git("config", "--add", "remote.staging.fetch", "+refs/tags/deploy/*:refs/tags/staging/deploy/*")
    client.git("config", "remote.staging.tagOpt", "--no-tags")
    client.hello("first")
    client.push()
    client.hello("second")
    client.push()

    said = client.git("push", "staging", "main")

    assert "error" not in said
    assert "* [new tag]         main -> deploy/1" in said
    client.git("fetch", "staging")
    assert client.git("cat-file", "-t", "refs/tags/staging/deploy/1").strip() == "tag"
    assert client.git("log", "-1", "--format=%s", "staging/deploy/1").strip() == "second"
    client.git("fetch", "clowdy")
    assert client.git("log", "-1", "--format=%s", "deploy/1").strip() == "first"


def test_a_plan_of_what_serves_already_says_that_nothing_would_change(client: Client) -> None:
    client.hello()
    client.push()

    said = client.git("push", "-o", "plan", "clowdy", "main:live", fails=True)

    assert "deploy/1 serves already: nothing to change" in said
    assert "plan only, nothing changed" in said
    assert "→" not in said
