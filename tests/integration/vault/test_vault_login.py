import json
from collections.abc import Callable
from pathlib import Path

import hvac
import pytest
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable
from goalkeeper.embedded import OpenBaoServer, Ports
from goalkeeper.vault import Vault, VaultLogin
from goalkeeper.vault_api import connected


def _write(file: Path, login: VaultLogin) -> Path:
    secret = login.wrapped_secret_id.get_secret_value()
    file.touch(0o600)
    file.write_text(json.dumps({"role_id": login.role_id, "wrapped_secret_id": secret}))
    return file


async def test_a_login_file_works_and_is_removed(bao: OpenBaoServer, tmp_path: Path) -> None:
    """It can be used once only, so nothing is left to find."""
    file = _write(tmp_path / "worker.login.json", await bao.login("worker"))
    vault = await Vault.from_file(bao.address, file)
    assert await vault.healthy()
    assert not file.exists()
    await vault.aclose()


async def test_a_login_that_somebody_has_used_before_is_an_alarm(bao: OpenBaoServer) -> None:
    """Whoever unwrapped it first has stolen it."""
    login = await bao.login("worker")
    with connected(bao.address, login.wrapped_secret_id.get_secret_value()) as thief:
        thief.sys.unwrap()
    with pytest.raises(CredentialDenied, match=r"ALARM.*unwrapped it before"):
        await Vault.login(bao.address, login)


async def test_a_login_that_was_replaced_is_an_alarm_and_is_not_used(
    bao: OpenBaoServer, stranger: Callable[[str], hvac.Client]
) -> None:
    """Anybody with some login can wrap a secret id of their own; where it was made tells."""
    login = await bao.login("worker")
    with connected(bao.address, login.wrapped_secret_id.get_secret_value()) as owner:
        secret_id = owner.sys.unwrap()["data"]
    forged = stranger("sys/wrapping/wrap").sys.wrap(secret_id)["wrap_info"]["token"]
    replaced = VaultLogin(role_id=login.role_id, wrapped_secret_id=SecretStr(forged))
    with pytest.raises(CredentialDenied, match=r"ALARM.*sys/wrapping/wrap.*not used"):
        await Vault.login(bao.address, replaced)


async def test_a_login_file_is_kept_while_vault_is_away(tmp_path: Path) -> None:
    """It was not used, so a retry may."""
    login = VaultLogin(role_id="r", wrapped_secret_id=SecretStr("w"))
    file = _write(tmp_path / "worker.login.json", login)
    with pytest.raises(VaultUnavailable):
        await Vault.from_file(f"http://127.0.0.1:{Ports.free().vault}", file)
    assert file.exists()
