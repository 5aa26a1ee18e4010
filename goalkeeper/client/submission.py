"""What a submission is made of: a contract by name, file or value, with inputs that fit it.

It compiles with the same compiler as the worker, to refuse early; the worker decides.
"""

from collections.abc import Mapping
from pathlib import Path

from connectors.registry import known_operations
from goalkeeper import yamlfile
from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.base import Json
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidContract
from goalkeeper.domain.plan import Plan
from goalkeeper.settings import Settings
from goalkeeper.yamlfile import Located

_FILES = {".yaml", ".yml"}


def prepare(
    settings: Settings, contract: str | Path | Contract, inputs: Mapping[str, Json]
) -> tuple[GoalInput, Plan]:
    """The workflow's input, and the plan that follows from it.

    A contract of the catalogue goes by its name, so that the worker's own copy counts; a file
    or a value goes whole.

    Raises:
        InvalidGoal: an input is missing, misspelt or wrong.
        InvalidContract: the contract does not compile.
        NotFound: there is no contract of that name.
    """
    found, located = find_contract(settings, contract)
    plan = compile_contract(found, inputs, known_operations(settings), located=located)
    if isinstance(contract, str) and not _is_file(contract):
        return GoalInput(contract=contract, inputs=dict(inputs)), plan
    return GoalInput(definition=found, inputs=dict(inputs)), plan


def find_contract(
    settings: Settings, contract: str | Path | Contract
) -> tuple[Contract, Located | None]:
    """The contract of that name, in that file, or itself.

    Raises:
        InvalidContract: the file cannot be read, or is not a contract.
        NotFound: there is no contract of that name.
    """
    if isinstance(contract, Contract):
        return contract, None
    if isinstance(contract, Path) or _is_file(contract):
        located = yamlfile.read(_text(Path(contract).expanduser()), str(contract))
        return located.validate(Contract), located
    known = Catalogue.load(settings).find(contract)
    return known.contract, known.located


def _is_file(name: str) -> bool:
    return Path(name).suffix in _FILES or "/" in name


def _text(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidContract(f"cannot read the contract '{file}': {error.strerror}") from None
