"""The demo's git repositories: the greeter's source with branches that do and do not work.

It writes into the folder that it is given and nowhere else. Branches are made by code, so that a
demo or a test can ask for as many as it needs.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "service"
MAIN = "main"
FEATURE = "feature/greeting"
NEW_GREETING = "Good day from the feature branch!"
_SERVICE = "greeter.py"
_HEALTHY = "    return True\n"
_SICKENING = """    return time.monotonic() - STARTED < {seconds}


STARTED = time.monotonic()
"""


@dataclass(frozen=True)
class DemoRepository:
    """One bare repository that a git host can serve."""

    path: Path

    @classmethod
    def create(cls, folder: Path, name: str = "greeter") -> "DemoRepository":
        """The repository ``NAME.git`` with the service on ``main``; one that is there is kept."""
        repository = cls(folder / f"{name}.git")
        if repository.path.exists():
            return repository
        # Built aside and moved: a start that was killed half-way leaves no half repository.
        draft = cls(folder / f".{name}.draft.git")
        shutil.rmtree(draft.path, ignore_errors=True)
        draft.path.mkdir(parents=True)
        draft.git("init", "--quiet", "--bare", f"--initial-branch={MAIN}", ".")
        for key, value in {
            "uploadpack.allowFilter": "true",
            "uploadpack.allowAnySHA1InWant": "true",
            "receive.denyNonFastForwards": "true",
            "receive.denyDeletes": "true",
            "gc.auto": "0",
        }.items():
            draft.git("config", key, value)
        files = {f.name: f.read_text() for f in sorted(SOURCE.iterdir()) if f.is_file()}
        draft.change(MAIN, files, "Add a service that greets")
        draft.path.rename(repository.path)
        return repository

    def change(
        self, branch: str, files: Mapping[str, str | None], message: str, *, base: str = MAIN
    ) -> str:
        """Commit to a branch, which starts at `base` when it is new; None removes a file.

        Returns:
            the new head.
        """
        start = self.head(branch) or self.head(base)
        lines = [
            f"commit refs/heads/{branch}",
            "committer Developer <developer@localhost> now",
            _data(message),
            *([f"from {start}"] if start else []),
        ]
        for path, content in files.items():
            lines.append(f"D {path}" if content is None else f"M 100644 inline {path}")
            lines.extend([] if content is None else [_data(content)])
        stream = "\n".join([*lines, "done", ""])
        self.git("fast-import", "--quiet", "--done", "--date-format=now", stdin=stream)
        return self.head(branch)

    def head(self, branch: str) -> str:
        """The commit a branch is at, or nothing."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def read(self, path: str, branch: str = MAIN) -> str:
        """A file's text on a branch."""
        return self.git("cat-file", "blob", f"refs/heads/{branch}:{path}") + "\n"

    def feature(self, branch: str = FEATURE, greeting: str = NEW_GREETING) -> str:
        """A branch that greets differently, and works."""
        main = self.read(_SERVICE)
        (line,) = [line for line in main.splitlines() if line.startswith("GREETING = ")]
        changed = main.replace(line, f'GREETING = "{greeting}"')
        self.change(branch, {_SERVICE: changed}, f"Greet with: {greeting}")
        return branch

    def failing_test(self, branch: str = "feature/impolite") -> str:
        """A branch whose tests fail: its greeting has lost the exclamation mark."""
        return self.feature(branch, "hello.")

    def unhealthy(self, branch: str = "feature/tired", seconds: float = 4) -> str:
        """A branch that passes its tests and falls ill some seconds after it was started."""
        text = self.read(_SERVICE)
        sick = text.replace(_HEALTHY, _SICKENING.format(seconds=seconds))
        sick = sick.replace("import threading\n", "import threading\nimport time\n")
        if sick.count("time.monotonic()") != 2:
            raise ValueError("the service has changed so that this branch cannot be made of it")
        self.change(branch, {_SERVICE: sick}, "Watch the clock")
        return branch

    def git(self, *arguments: str, stdin: str = "") -> str:
        """Run git on the bare repository, away from whatever configuration this user has."""
        finished = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=clean_environment(self.path),
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return finished.stdout.removesuffix("\n")


def clean_environment(home: Path) -> dict[str, str]:
    """What a git process of the demo sees: the way to programs, and nobody's configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"
