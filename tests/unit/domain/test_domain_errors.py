"""The tree of errors: codes, bounds, and the way over a process boundary."""

import inspect
from datetime import timedelta

import pytest

from goalkeeper.domain import errors
from goalkeeper.domain.errors import (
    MESSAGE_LIMIT,
    GoalkeeperError,
    OperationFailed,
    PermanentError,
    RateLimited,
    TransientError,
    all_errors,
    from_code,
)

EVERY = sorted(all_errors())
LEAVES = [n for n in EVERY if n not in ("GoalkeeperError", "TransientError", "PermanentError")]


def make(name: str, message: str) -> GoalkeeperError:
    """An error of that class."""
    cls = all_errors()[name]
    if cls is RateLimited:
        return RateLimited(message, retry_after=timedelta(seconds=3))
    return cls(message)


@pytest.mark.parametrize("name", LEAVES)
def test_every_error_is_either_worth_retrying_or_not(name: str) -> None:
    """Its side of the tree says so."""
    error = make(name, "why")
    assert isinstance(error, TransientError) != isinstance(error, PermanentError)
    assert error.retryable is isinstance(error, TransientError)


@pytest.mark.parametrize("name", LEAVES)
def test_an_error_survives_a_process_boundary(name: str) -> None:
    """By its code, which is its class's name."""
    error = make(name, "why")
    again = from_code(error.code, error.message)
    assert type(again) is type(error)
    assert again.code == name
    assert str(again) == again.message == "why"


@pytest.mark.parametrize("name", LEAVES)
def test_a_message_is_bounded(name: str) -> None:
    """It reaches history, and a card of Slack."""
    exact = make(name, "x" * MESSAGE_LIMIT)
    assert exact.message == "x" * MESSAGE_LIMIT
    long = make(name, "x" * MESSAGE_LIMIT + "y")
    assert len(long.message) == MESSAGE_LIMIT
    assert long.message.endswith("…")
    assert str(long) == long.message


def test_an_unknown_code_becomes_an_error_that_names_it() -> None:
    """From a newer version, say."""
    error = from_code("Eclipse", "the sun is gone")
    assert type(error) is OperationFailed
    assert error.message == "Eclipse: the sun is gone"


def test_the_tree_in_the_module_s_text_is_the_real_one() -> None:
    """Each class stands there; nothing stands there that is not a class."""
    text = inspect.getdoc(errors) or ""
    drawn = {
        word
        for line in text.splitlines()
        if any(mark in line for mark in "├└") or line.strip() == "GoalkeeperError"
        for word in line.replace("│", " ").replace("├", " ").replace("└", " ").split()[:1]
    }
    assert drawn == set(EVERY)


def test_a_rate_limit_knows_how_long_to_wait() -> None:
    """And gets a short default when only its code came over."""
    assert RateLimited("slow down", retry_after=timedelta(seconds=9)).retry_after.seconds == 9
    again = from_code("RateLimited", "slow down")
    assert isinstance(again, RateLimited)
    assert again.retry_after > timedelta(0)
