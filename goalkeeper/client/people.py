"""In whose name the client speaks: a token by argument, environment or state folder.

It reads tokens; it never writes or prints one.
"""

import getpass
import os
from collections.abc import Mapping

from pydantic import SecretStr

from goalkeeper.domain.errors import InvalidSettings, NotAllowed
from goalkeeper.settings import Settings


def find_token(
    settings: Settings,
    *,
    token: SecretStr | str | None = None,
    as_person: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> SecretStr | None:
    """The token at hand, if any.

    In this order: `token`, the token of `as_person` in the state folder, ``GOALKEEPER_TOKEN``,
    the token of the person that ``GOALKEEPER_AS`` names.

    Raises:
        InvalidSettings: a person is named whose token is not in the state folder.
    """
    env = os.environ if environ is None else environ
    if token is not None:
        return token if isinstance(token, SecretStr) else SecretStr(token)
    named = as_person or env.get("GOALKEEPER_AS")
    if as_person is None and env.get("GOALKEEPER_TOKEN"):
        return SecretStr(env["GOALKEEPER_TOKEN"])
    return _of_person(settings, named) if named else None


def _of_person(settings: Settings, person: str) -> SecretStr:
    known = known_people(settings)
    if person not in known:
        here = f"tokens here: {', '.join(known)}" if known else "there is none: run `goalkeeper up`"
        raise InvalidSettings(f"no token of '{person}' in {settings.state / 'tokens'}; {here}")
    try:
        return SecretStr((settings.state / "tokens" / person).read_text().strip())
    except OSError as error:
        raise InvalidSettings(f"cannot read the token of '{person}': {error.strerror}") from None


def known_people(settings: Settings) -> list[str]:
    """Whose tokens are in the state folder."""
    try:
        return sorted(f.name for f in (settings.state / "tokens").iterdir() if f.is_file())
    except OSError:
        return []


def needs_person(settings: Settings) -> NotAllowed:
    """What to say where a person is needed and none is known."""
    known = known_people(settings)
    choose = f"`--as PERSON` (here: {', '.join(known)})" if known else "`--as PERSON`"
    return NotAllowed(
        f"this needs to know who you are: say {choose}, or put your token into GOALKEEPER_TOKEN"
    )


def local_user() -> str:
    """The operating system's name for whoever runs this; a claim, never a proof."""
    try:
        return f"unverified:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"unverified:uid-{os.getuid()}"
