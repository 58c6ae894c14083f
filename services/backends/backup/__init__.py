"""Copies of all that is kept, made while everything runs, and put back on an empty machine.

    files/instances/<ab>/<digest>.dcm, ...      as in the data folder; shared by all snapshots, each file copied once
    files/audit/anchors.jsonl@<sha256>, ...     the same of files whose names do not tell their content
    snapshots/<time>/manifest.json              what this snapshot is, with the digests of the two below
    snapshots/<time>/files.txt.gz               its files: size and path, a line each
    snapshots/<time>/database.sqlite, .dump     SQLite's own online copy, or pg_dump's custom format

The database is copied first and the files after it, while nobody deletes files: so each file that the database names is
there, and those that it does not name came later. A restore has these recorded as if they had just come. Files of the
audit trail are copied before the database: so an event that waits to enter it is in one of the two, or in both, and
then its key lets it in once; and each anchor tells of a record that is there.
"""
