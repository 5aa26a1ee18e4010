"""The first people of a new installation: a developer and an operator, each with a token.

It never changes an identities file that is there.
"""

import hashlib
import secrets
from pathlib import Path

import yaml

from goalkeeper.embedded.files import make_folder, write_private

_FIRST = (("developer", "Developer", "developers"), ("operator", "Operator", "operators"))


def ensure_people(file: Path, tokens: Path) -> bool:
    """Write the identities file and the tokens of those in it, once; whether it was written.

    Args:
        file: the identities file.
        tokens: the folder that gets one file a person, named by id, mode 0600.
    """
    if file.exists():
        return False
    make_folder(tokens)
    people = []
    for person, name, group in _FIRST:
        token = secrets.token_urlsafe(32)
        write_private(tokens / person, token + "\n")
        digest = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
        people.append({"id": person, "name": name, "groups": [group], "token_digest": digest})
    # Last: a start that dies before this line does it all again.
    write_private(file, yaml.safe_dump({"version": "1", "people": people}, sort_keys=False))
    return True
