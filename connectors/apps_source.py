"""An app's source: the file in it that says how the app is started.

It reads what it is given; building and running belong to `connectors.apps`.
"""

import io
import tarfile

from pydantic import ValidationError

from connectors.apps_models import AppFile
from goalkeeper.domain.errors import InvalidGoal

APP_FILE = "goalkeeper-app.json"
_APP_FILE_LIMIT = 64 * 1024


def app_file(source: bytes) -> AppFile:
    """How the source says that it is started.

    Raises:
        InvalidGoal: the file is not there, or says something else than it may.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(source)) as tar:
            member = tar.extractfile(APP_FILE)
            raw = member.read(_APP_FILE_LIMIT) if member else b""
        return AppFile.model_validate_json(raw)
    except (KeyError, tarfile.TarError):
        raise InvalidGoal(
            f"the source has no '{APP_FILE}' at its root; add one, for example "
            '{"command": ["python3", "app.py"], "port": 8080, "health_path": "/healthz"}'
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidGoal(f"'{APP_FILE}' is wrong at {place}: {first['msg']}") from None
