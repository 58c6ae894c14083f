"""Copies of all that is kept, made while everything runs, and put back on an empty machine.

    files/instances/<ab>/<digest>.dcm, ...      as in the data folder; shared by all snapshots, each file copied once
    snapshots/<time>/manifest.json              what this snapshot is, with the digests of the two below
    snapshots/<time>/files.txt.gz               its files: size and path, a line each
    snapshots/<time>/database.sqlite, .dump     SQLite's own online copy, or pg_dump's custom format

The database is copied first and the files after it, while nobody deletes files: so each file that the database names is
there, and those that it does not name came later. A restore has these recorded as if they had just come.
"""
