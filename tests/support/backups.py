"""A house that is copied by `vigie backup`, lost, and found again."""

import shutil
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli import app
from tests.support.house import House


def vigie(*words: object) -> Result:
    """Run the program."""
    return CliRunner().invoke(app, [str(word) for word in words])


def backup(house: House) -> Path:
    """Make a backup of it; answers the folder."""
    folder = house.data.parent / "backup"
    made = vigie("backup", "make", folder)
    assert made.exit_code == 0, made.output
    return folder


def backup_later(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second backup, of another time than the first."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=5)

    with monkeypatch.context() as later:
        later.setattr("services.cli.backup.datetime", Later)
        return backup(house)


def lose(house: House) -> House:
    """Its folder is gone, with the database in it; a new house in the same place."""
    house.store.close()
    shutil.rmtree(house.data)
    return House(data=house.data, send_to=house.send_to)
