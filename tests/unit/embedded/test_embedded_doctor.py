"""`doctor` looks at the policy as `goalkeeper policy check` does."""

from pathlib import Path

from goalkeeper.embedded.doctor import Check, doctor
from goalkeeper.settings import load_settings

_NOBODY = "127.0.0.1:9"


async def policy_check(folder: Path, text: str) -> Check:
    """What it says of one policy, with no server anywhere."""
    file = folder / "mine.cedar"
    file.write_text(text)
    settings = load_settings(
        folder,
        environ={},
        policy=file,
        temporal_address=_NOBODY,
        vault_address=f"http://{_NOBODY}",
        gateway_url=f"http://{_NOBODY}",
        docker_host=f"unix://{folder}/none.sock",
    )
    return next(c for c in await doctor(settings) if c.name == "policy")


async def test_a_rule_that_never_holds_is_not_right(tmp_path: Path) -> None:
    """The worker would start with it, and nobody would know."""
    good = 'permit (principal, action == Action::"git.merge_branch", resource);'
    assert (await policy_check(tmp_path, good)).ok
    found = await policy_check(tmp_path, good.replace("merge", "merg"))
    assert not found.ok
    assert "line 1: there is no operation or service 'git.merg_branch'" in found.message
