"""The folder beside a target: its lock, and what is left behind."""

import os
import pickle
import subprocess
import sys

import pytest

from ilcore.grammar.errors import BadPlan, Busy, DestinationError
from ilcore.running.workspace import Workspace, write_text


@pytest.fixture
def workspace(tmp_path):
    return Workspace.of(tmp_path / "out.ome.zarr")


def test_everything_lies_beside_the_target(workspace, tmp_path):
    assert workspace.root == tmp_path / "out.ome.zarr.il"
    assert workspace.ledger == workspace.root / "ledger.zarr"
    assert pickle.loads(pickle.dumps(workspace)) == workspace
    with pytest.raises(AttributeError, match="a workspace has lock, plan"):
        workspace.ledgers  # noqa: B018


def test_a_local_target_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Workspace.of("a.zarr").target == tmp_path / "a.zarr"
    assert Workspace.of(f"file://{tmp_path}/a.zarr").target == tmp_path / "a.zarr"
    assert Workspace.of("a.zarr/").target == tmp_path / "a.zarr"


def test_only_one_at_a_time(workspace):
    with (
        workspace.locked(),
        pytest.raises(Busy, match=f"process {os.getpid()}"),
        Workspace(workspace.target).locked(),
    ):
        pass
    with workspace.locked():
        assert workspace.lock.read_text().strip() == str(os.getpid())


def test_a_folder_in_which_nothing_was_begun_is_gone(workspace):
    with workspace.locked():
        assert workspace.root.is_dir()
    assert not workspace.root.exists()


def test_a_folder_in_which_something_was_begun_stays(workspace):
    with workspace.locked():
        write_text(workspace.plan, "plan")
    assert workspace.plan.read_text() == "plan"
    assert sorted(path.name for path in workspace.root.iterdir()) == ["lock", "plan.yaml"]


HOLD = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, str(os.getpid()).encode())
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_of_the_dead_is_free(workspace):
    workspace.root.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLD, workspace.lock], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=str(holder.pid)), workspace.locked():
            pass
        holder.kill()
    with workspace.locked():
        pass


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(workspace, monkeypatch):
    opened = Workspace._open_lock
    first = []

    def open_late(self):
        handle = opened(self)
        if not first:
            first.append(handle)
            # Another run ends between our opening of the file and our taking of the lock.
            self.lock.unlink()
        return handle

    monkeypatch.setattr(Workspace, "_open_lock", open_late)
    with workspace.locked():
        assert workspace.lock.exists()
        with pytest.raises(Busy), Workspace(workspace.target).locked():
            pass


def test_clearing_leaves_the_lock_alone(workspace):
    with workspace.locked():
        for place in (workspace.plan, workspace.record):
            place.write_text("x")
        (workspace.ledger / "status").mkdir(parents=True)
        workspace.clear()
        assert [path.name for path in workspace.root.iterdir()] == ["lock"]


def test_a_kill_while_clearing_leaves_no_plan(workspace, monkeypatch):
    with workspace.locked():
        workspace.plan.write_text("x")
        workspace.ledger.mkdir()

        def killed(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            workspace.clear()
        assert not workspace.plan.exists()
    with pytest.raises(BadPlan, match="got no plan.yaml"):
        workspace.plan_of_run()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="choose another target"), Workspace.of(tmp_path / "file/out").locked():
        pass
