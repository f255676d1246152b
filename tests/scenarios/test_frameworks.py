"""Projects as their frameworks' own commands make them: nothing but clowdy.yaml is added."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
from uv import find_uv_bin

from tests.harness import Client, Server

LITESTAR = """from litestar import Litestar, Request, get


@get("/")
async def hello(request: Request) -> dict[str, str]:
    return {"here": request.url.path}


@get("/items/{item_id:int}")
async def item(item_id: int) -> dict[str, int]:
    return {"item": item_id}


app = Litestar([hello, item])
"""


def run(package: str, *command: str, folder: Path) -> None:
    """A program of a package, installed for this once."""
    done = subprocess.run(
        [find_uv_bin(), "tool", "run", "--quiet", "--from", package, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def push_django(client: Client, entry: str) -> None:
    """What `startproject` makes, served by one of its two entries."""
    run("django", "django-admin", "startproject", "site_of_ana", ".", folder=client.folder)
    client.commit(
        {
            "clowdy.yaml": f"functions:\n  site: {{handler: site_of_ana/{entry}.py:application, memory: 256MB}}\n"
            "routes: {ANY /*path: site}\nrequirements: [django]\n"
        }
    )
    client.push()


def test_django(server: Server, client: Client, name: str) -> None:
    push_django(client, "wsgi")
    own = {"Host": f"{name}.localhost"}
    page = httpx.get(f"{server.url}/", headers=own)
    assert page.status_code == 200
    assert "The install worked successfully" in page.text
    assert httpx.get(f"{server.url}/nothing", headers=own).status_code == 404
    # Its own redirects lead to where it is mounted.
    moved = httpx.get(f"{server.url}/api/gateway/{name}/admin")
    assert (moved.status_code, moved.headers["Location"]) == (301, f"/api/gateway/{name}/admin/")


def test_django_by_asgi(server: Server, client: Client, name: str) -> None:
    push_django(client, "asgi")
    page = httpx.get(f"{server.url}/", headers={"Host": f"{name}.localhost"})
    assert "The install worked successfully" in page.text


def test_litestar(server: Server, client: Client, name: str) -> None:
    client.commit(
        {
            "clowdy.yaml": "functions:\n  app: {handler: app.py:app, memory: 256MB}\nroutes: {ANY /*path: app}\n"
            "requirements: [litestar]\n",
            "app.py": LITESTAR,
        }
    )
    client.push()
    base = f"{server.url}/api/gateway/{name}"
    assert httpx.get(f"{base}/").json() == {"here": f"/api/gateway/{name}/"}
    assert httpx.get(f"{base}/items/7").json() == {"item": 7}
    assert httpx.get(f"{base}/items/x").status_code == 404
    schema = httpx.get(f"{base}/schema/openapi.json")
    assert re.search(r'"/items/\{item_id\}"', schema.text)
