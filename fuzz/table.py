"""The table that is printed and committed."""

from collections.abc import Sequence

from fuzz.tally import Tally


def markdown(tallies: Sequence[Tally]) -> str:
    """One row for each target."""
    rows = [
        f"| {tally.target} | {tally.cases} | {tally.cases / (tally.seconds or 1):.0f} | {tally.kept} | "
        f"{_by_code(tally)} | {len(tally.findings)} |"
        for tally in tallies
    ]
    return "\n".join(
        [
            "| target | cases | per second | kept or answered | refused, by code | findings |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _by_code(tally: Tally) -> str:
    return ", ".join(f"{code} {count}" for code, count in tally.refused.most_common())


PAGE = """\
# Fuzzing: hostile bytes at every door

Made by `{command}` on {date}
in {minutes:.0f} minutes, on a machine of {cores} cores shared with other work (load average {load:.0f} at the end):
trust the counts, not the rates. A real `vigie gateway` listens on loopback, its data in memory; each case
comes over a socket.

{table}

- *C-STORE*, *STOW-RS*: real files (sample studies, pydicom's test files, those of `VIGIE_TEST_DATA`) with one to three
  mutations, or built to cost much or to leave their place. After every thousand: each answer is compared with the data
  folder (what was accepted is kept byte for byte, what was refused is in quarantine with a code), the dispatcher has
  settled all, a good instance is taken on the same and on a new association, no part has died or grown, no file lies
  outside of the data folder, and the log holds no error and no value that was sent.
- *QIDO, WADO, pages*: a share of the accepted ones, each read back in every way there is. *kept or answered* counts the
  requests answered with success.
- *PDUs*: connections that break PS3.8 in one way or another, beside good associations (*kept or answered*) and
  eight that send a byte now and then. *refused* is what the door said last.
- *HTTP API*: schemathesis on the OpenAPI document, all operations, positive and negative data, stateful.
- *HL7 over MLLP*: *refused* is by condition (HL7 table 0357).
"""
