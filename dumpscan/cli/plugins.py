"""``dumpscan plugins``: where the volatility3 plugins lie."""

from __future__ import annotations

import click


@click.command("plugins")
def command() -> None:
    """Print the folder of the volatility3 plugins: vol -p "$(dumpscan plugins)" -f IMAGE ..."""
    from dumpscan.bundled import folder

    click.echo(folder("plugins"))
