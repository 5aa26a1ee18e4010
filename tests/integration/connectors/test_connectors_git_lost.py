"""What the git connector finds of a merge or a revert whose attempt was lost."""

from connectors.git import GitConnector
from connectors.git_models import BranchMerged
from deploy.demo.repository import FEATURE
from goalkeeper.contracts.connector import Happened
from goalkeeper.domain.credential import Credentials
from tests.integration.connectors.conftest import Call
from tests.integration.connectors.test_connectors_git import Repository


async def test_a_merge_and_its_revert_are_found_by_their_key(
    git: GitConnector, call: Call, repository: Repository, writer: Credentials
) -> None:
    """Before, they had not happened; after, the answer is the same, and looking changed nothing."""
    bare, url = repository
    bare.feature()
    merge = call(
        "git.merge_branch",
        task="merge",
        repository=url,
        branch=FEATURE,
        expected_commit=bare.head(FEATURE),
        message="Merge the greeting",
    )
    assert (await git.reconcile(merge, writer)).happened is Happened.NO
    merged = await git.execute(merge, writer)
    assert isinstance(merged.outputs, BranchMerged)
    found = await git.reconcile(merge, writer)
    assert (found.happened, found.result) == (Happened.YES, merged)

    undo = GitConnector.operations["git.merge_branch"].compensation
    assert undo is not None
    revert = call(undo.operation, task="merge", **undo.inputs(merge.inputs, merged.outputs))
    assert (await git.reconcile(revert, writer)).happened is Happened.NO
    reverted = await git.execute(revert, writer)
    found = await git.reconcile(revert, writer)
    assert (found.happened, found.result) == (Happened.YES, reverted)


async def test_another_goal_s_merge_is_not_taken_for_this_one_s(
    git: GitConnector, call: Call, repository: Repository, writer: Credentials
) -> None:
    """The key is in the commit."""
    bare, url = repository
    bare.feature()
    given = {
        "repository": url,
        "branch": FEATURE,
        "expected_commit": bare.head(FEATURE),
        "message": "Merge the greeting",
    }
    await git.execute(call("git.merge_branch", task="merge", **given), writer)
    other = call("git.merge_branch", task="other", **given)
    assert (await git.reconcile(other, writer)).happened is Happened.NO
    gone = call("git.merge_branch", task="merge", **{**given, "base": "nowhere"})
    assert (await git.reconcile(gone, writer)).happened is Happened.CANNOT_TELL
