"""Files go little by little, unseen by all who share them. What that spares who posts, `make bench` tells."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from heatfleet.storage.sqlite import removal
from heatfleet.storage.sqlite.removal import cut_away, put_away, replace

SIZE = 10 * 1024 * 1024
BODY = os.urandom(SIZE)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file goes at once")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three steps."""
    path = tmp_path / "readings-2026-01-01.db"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, int]]:
    """The names and sizes of all files at each pause."""
    found: list[dict[str, int]] = []

    def look(seconds: float) -> None:
        assert removal.PAUSE_S == seconds
        found.append({path.name: path.stat().st_size for path in tmp_path.iterdir()})

    monkeypatch.setattr("heatfleet.storage.sqlite.removal.time", SimpleNamespace(sleep=look))
    return found


def remove(path: Path) -> int:
    """Remove a file for good; gives the number of pauses in between."""
    put_away(path)
    return len(list(cut_away(path.parent)))


def test_a_large_file_is_cut_shorter_and_shorter(large: Path, seen: list[dict[str, int]]) -> None:
    """Under another name, so that nobody takes it for a file of the store."""
    for companion in ("-wal", "-shm"):
        large.with_name(large.name + companion).write_bytes(b"little")

    remove(large)

    gone = f"{large.name}.gone"
    assert seen == [{gone: SIZE - removal.STEP_BYTES}, {gone: SIZE - 2 * removal.STEP_BYTES}]
    assert not list(large.parent.iterdir())


def test_a_small_file_and_one_that_is_not_there_go_at_once(tmp_path: Path, seen: list[dict[str, int]]) -> None:
    """Nothing to wait for."""
    small = tmp_path / "journal-000000000001.db"
    small.write_bytes(BODY[: removal.STEP_BYTES])
    remove(small)
    remove(small)

    assert not seen
    assert not list(tmp_path.iterdir())


def in_this_process(path: Path) -> Callable[[], bytes]:
    """Somebody who reads on here."""
    file = path.open("rb")

    def read() -> bytes:
        with file:
            return file.read()

    return read


def in_another_process(path: Path) -> Callable[[], bytes]:
    """Somebody who reads on elsewhere, and got no farther than to open the file."""
    script = "import sys; f = open(sys.argv[1], 'rb'); print(flush=True); input(); sys.stdout.buffer.write(f.read())"
    command = [sys.executable, "-c", script, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"\n" == process.stdout.readline()
    return lambda: process.communicate(b"\n", timeout=60)[0]


def by_another_name(path: Path) -> Callable[[], bytes]:
    """A backup, which shares the file as a hard link."""
    link = path.with_name("backup")
    link.hardlink_to(path)

    def read() -> bytes:
        body = link.read_bytes()
        link.unlink()
        return body

    return read


@pytest.mark.parametrize("who", [in_this_process, in_another_process, by_another_name])
def test_who_has_a_share_keeps_it_whole(
    who: Callable[[Path], Callable[[], bytes]], large: Path, seen: list[dict[str, int]]
) -> None:
    """The name goes at once; the file stays as it is for those who have it."""
    read = who(large)

    remove(large)

    assert not seen
    assert BODY == read()
    assert not list(large.parent.iterdir())


def test_a_very_large_file_goes_in_pieces(
    large: Path, seen: list[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a rollup whose time has come need not wait; what was begun is gone on with, by whoever comes."""
    monkeypatch.setattr(removal, "STEPS_A_PIECE", 2)
    monkeypatch.setattr(removal, "STEP_BYTES", SIZE // 10)
    put_away(large)
    pieces = cut_away(large.parent)
    for number in (1, 2):
        next(pieces)
        assert [SIZE - 2 * number * SIZE // 10] == [path.stat().st_size for path in large.parent.iterdir()]
    del pieces

    assert 2 == len(list(cut_away(large.parent)))
    assert 9 == len(seen)
    assert not list(large.parent.iterdir())


def test_only_what_was_put_away_goes(large: Path, seen: list[dict[str, int]]) -> None:
    """Of the kind that is asked for, and files of the store stay."""
    journal = large.with_name("journal-000000000001.db")
    for path in (large, journal):
        path.write_bytes(BODY)
        put_away(path)
        path.write_bytes(b"new")

    list(cut_away(large.parent, ["journal-"]))

    assert {large.name, f"{large.name}.gone", journal.name} == {path.name for path in large.parent.iterdir()}


def test_what_cannot_be_cut_goes_at_once(large: Path, seen: list[dict[str, int]]) -> None:
    """Cutting is a courtesy: a folder in the way of opening is as good as a right that is missing."""
    put_away(large)
    gone = large.with_name(f"{large.name}.gone")
    target = large.with_name("elsewhere")
    gone.unlink()
    gone.symlink_to(target)  # leads nowhere

    list(cut_away(large.parent))

    assert not seen
    assert not list(large.parent.iterdir())


def test_who_is_replaced_goes_little_by_little_too(large: Path, seen: list[dict[str, int]]) -> None:
    """Its name is never missing."""
    new = large.with_name("new")
    new.write_bytes(b"new")
    replace(large, new)
    assert b"new" == large.read_bytes()

    list(cut_away(large.parent))

    assert 2 == len(seen)
    assert [large] == list(large.parent.iterdir())


def test_nobody_need_be_there_to_be_replaced(tmp_path: Path) -> None:
    """And a small one goes at once."""
    path, new = tmp_path / "readings-2026-01-01.parquet", tmp_path / "part"
    for body in (b"first", b"second"):
        new.write_bytes(body)
        replace(path, new)
        assert body == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_who_was_about_to_be_replaced_stays_whole(large: Path, seen: list[dict[str, int]]) -> None:
    """After a crash in between a file has two names, and loses the one that is not its own."""
    large.with_name(f"{large.name}.gone").hardlink_to(large)

    list(cut_away(large.parent))

    assert not seen
    assert [large] == list(large.parent.iterdir())
    assert BODY == large.read_bytes()


def test_who_opens_it_in_the_midst_of_looking_harms_nobody(tmp_path: Path) -> None:
    """The kernel tells who holds a lease that another wants in, by a signal: not by one that ends the process."""
    script = f"""
import fcntl, signal
from pathlib import Path
from heatfleet.storage.sqlite import removal

real, opened = fcntl.fcntl, []

def watched(number, command, *rest):
    done = real(number, command, *rest)
    if command == fcntl.F_SETLEASE and rest == (fcntl.F_WRLCK,):
        try:
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except BlockingIOError:
            opened.append(path)
    return done

import os
path = Path({str(tmp_path / "readings-2026-01-01.db.gone")!r})
path.write_bytes(bytes(3 * removal.STEP_BYTES))
fcntl.fcntl = watched
list(removal.cut_away(path.parent))
print(len(opened), path.exists())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (0, "1 False\n") == (run.returncode, run.stdout), run.stderr
