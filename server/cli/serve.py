"""`clowdy serve`: the server itself, and what it says when it listens."""

from __future__ import annotations

import functools
import logging
import os

import click

from clowdy.server.cli.failure import Failure

RUNTIMES = ("auto", "sandbox", "docker", "process")


@click.command("serve")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept.  [.clowdy]")
@click.option("--host", metavar="HOST", help="The address to listen on.  [127.0.0.1]")
@click.option("--port", metavar="PORT", help="The port to listen on.  [8000]")
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    help="What functions run in; process is no isolation.  [auto]",
)
@click.option("--public-url", metavar="URL", help="The address that people use.  [http://HOST:PORT]")
@click.option("--base-domain", metavar="NAME", help="Projects answer at PROJECT.NAME.  [localhost]")
@click.option("--memory-budget", metavar="SIZE", help="Memory for all functions, as 2GB.  [60 % of the machine]")
@click.option(
    "--trust-proxy", metavar="CIDR", multiple=True, help="A proxy whose X-Forwarded headers count; can be repeated."
)
@click.option(
    "--allow-private-networks",
    is_flag=True,
    default=None,
    help="Functions with network: true also reach private addresses, as 10.0.0.0/8.",
)
@click.option("--grace", metavar="SECONDS", help="How long calls may go on when the server stops.  [30]")
@click.option("--config", metavar="FILE", help="A TOML file with the same names.  [DIR/clowdy.toml]")
@click.option("--first-run", is_flag=True, hidden=True)
def command(config: str | None, first_run: bool, **options: object) -> int:
    """Serve git pushes, the API and the gateway until SIGTERM.

    Each option is also a variable CLOWDY_… in the environment and a key of the TOML file; the option wins over the
    variable, which wins over the file.
    """
    from clowdy.server.app import run
    from clowdy.server.cli.welcome import welcome
    from clowdy.server.config import Config
    from clowdy.server.errors import ClowdyError, ConfigError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("clowdy").setLevel(logging.INFO)
    try:
        settings = Config.load(options, os.environ, config or os.environ.get("CLOWDY_CONFIG"))
        return run(settings, functools.partial(welcome, signs_in=first_run))
    except ConfigError as error:
        raise Failure(error.message, exit_code=2) from None
    except ClowdyError as error:
        raise Failure(error.message) from None
