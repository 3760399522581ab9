"""The files of a store by their names: what kind each is, and which are only there while somebody works."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from heatfleet.storage.sqlite.connect import newest_version

MAIN, DAY, ARCHIVE, FOREIGN = "main", "day", "archive", "foreign"
"""Kinds of files; those of databases are the families of ``schema/``."""
_DAYS = {"readings": DAY, "late": DAY}
_is_database = re.compile(r"([a-z]+)(-\d[\d-]*)?\.db").fullmatch
_is_archive = re.compile(r"readings-\d{4}-\d\d-\d\d\.parquet").fullmatch
_is_passing = re.compile(r".*\.db-(wal|shm|journal)|.*\.parquet\.part|.*\.gone|[a-z]+\.lock").fullmatch


class StoreFile(NamedTuple):
    """A file of a store and its kind."""

    path: Path
    kind: str

    @property
    def is_database(self) -> bool:
        """Whether SQLite reads it."""
        return self.kind not in (ARCHIVE, FOREIGN)


def folder_of(main: Path) -> Path:
    """The folder that belongs to a main file."""
    return main.with_name(f"{main.name}.d")


def store_files(main: Path) -> Iterator[StoreFile]:
    """The main file, then what is in the folder beside it, in order of names; no companions, locks and parts.

    What is none of ours is ``FOREIGN``. Any of them may be gone when it is opened.
    """
    yield StoreFile(main, MAIN)
    folder = folder_of(main)
    for name in sorted(os.listdir(folder) if folder.is_dir() else []):  # noqa: PTH208 - there are thousands
        if not _is_passing(name):
            yield StoreFile(folder / name, _kind_of(name))


def _kind_of(name: str) -> str:
    if _is_archive(name):
        return ARCHIVE
    if found := _is_database(name):
        kind = _DAYS.get(found[1], found[1])
        return kind if kind != MAIN and newest_version(kind) else FOREIGN
    return FOREIGN
