"""Commands on the payload keys: list, rotate.

They see ids alone; the keys stay in Vault.
"""

from typing import TYPE_CHECKING

import typer

from goalkeeper.cli.session import Session, command

if TYPE_CHECKING:
    from goalkeeper.vault_keys import HeldKeys


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(
        help="The keys that goals are encrypted with in Temporal.", no_args_is_help=True
    )
    app.add_typer(keys, name="keys", rich_help_panel="Stack")

    @command(keys, "list")
    def list_(session: Session) -> None:
        """List the keys' ids, oldest first; the last one seals, all of them open."""
        from goalkeeper.embedded.payload_keys import payload_keys

        _show(session, session.run(payload_keys(session.settings)))

    @command(keys, "rotate")
    def rotate(session: Session) -> None:
        """Add a key that seals from now on; what earlier keys sealed stays readable.

        Running workers and gateways take it up by themselves, within five minutes.
        """
        from goalkeeper.embedded.payload_keys import rotate_payload_key

        _show(session, session.run(rotate_payload_key(session.settings)))


def _show(session: Session, held: "HeldKeys") -> None:
    from goalkeeper.cli.render import columns

    table = columns("KEY", "USE", "SINCE")
    for key_id in held.ids[:-1]:
        table.add_row(key_id, "opens what it sealed", "")
    current = held.ids[-1] if held.ids else None
    if current is not None:
        table.add_row(current, "seals, and opens", held.changed_at or "")
    session.answer(
        {"keys": list(held.ids), "current": current, "changed_at": held.changed_at},
        table if held.ids else "Vault holds no payload key",
    )
