"""The payload keys of the embedded Vault, as their operator sees them: which there are, a new one.

It never sees a key's value.
"""

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.state import StackFile
from goalkeeper.settings import Settings
from goalkeeper.vault_keys import HeldKeys


async def payload_keys(settings: Settings) -> HeldKeys:
    """Which payload keys there are.

    Raises:
        ServiceUnavailable: no stack runs on this folder.
        VaultUnavailable: its Vault is sealed or unreachable.
    """
    return await _vault(settings).payload_keys()


async def rotate_payload_key(settings: Settings) -> HeldKeys:
    """Add a key, which seals from now on; what earlier ones sealed stays readable.

    Raises:
        As `payload_keys` does.
        CredentialDenied: somebody else added one at the same moment.
    """
    return await _vault(settings).rotate_payload_key()


def _vault(settings: Settings) -> OpenBaoServer:
    record = StackFile.read(settings.state)
    if record is None or not record.alive:
        raise ServiceUnavailable(
            f"no stack runs on '{settings.state}', so its Vault cannot be reached: goalkeeper up. "
            "With a Vault of your own, use its own tools: see docs/payloads.md"
        )
    return OpenBaoServer(settings.state / "vault", record.ports)
