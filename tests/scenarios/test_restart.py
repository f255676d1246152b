"""What a server finds at its start that it did not leave so: another Python, a repository restored by hand."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.harness import Server


def test_live_releases_are_prepared_for_another_python(own_server: Server, tmp_path: Path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    assert own_server.stop() == 0
    file = own_server.data / "runtime.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"python": "3.0.1"}))
    own_server.start()
    assert "(before: 3.0.1): live releases are prepared for it" in own_server.log
    assert own_server.call(name).headers["X-Clowdy-Release"] == "1"
    assert json.loads(file.read_text())["python"] != "3.0.1"


def test_a_deploy_branch_ahead_of_its_releases_is_deployed_while_the_old_one_serves(
    own_server: Server, tmp_path: Path, name: str
) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello("one")
    client.push()
    client.hello("two")
    client.push("HEAD:refs/heads/aside")
    assert own_server.stop() == 0
    (repository,) = (own_server.data / "repos").glob("[0-9a-f]*.git")
    subprocess.run(["git", "update-ref", "refs/heads/main", "refs/heads/aside"], cwd=repository, check=True)
    own_server.start()
    deadline = time.monotonic() + 20
    while own_server.call(name).json() != {"message": "two"}:
        assert own_server.call(name).status_code == 200
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert own_server.call(name).headers["X-Clowdy-Release"] == "2"
