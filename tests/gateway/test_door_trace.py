"""A kill does not lose the page cache: whether all is synced only the system calls tell."""

from pathlib import Path

from services.backends.headers import read_instance
from tests.support.ct import ct_series
from tests.support.scu import associate, encode, open_door, store
from tests.support.trace import Call, read_trace, strace

P_DATA_TF = r'"\x04'  # PS3.8 9.3.5


def of(calls: list[Call], name: str, *words: str) -> list[Call]:
    return [call for call in calls if call.name == name and all(word in call.arguments for word in words)]


def test_file_and_directory_are_synced_before_the_c_store_response_is_on_the_wire(tmp_path: Path) -> None:
    series = ct_series(slices=3)
    trace = tmp_path / "trace"
    under = strace(trace, ["fsync", "rename", "sendto", "sendmsg", "write", "writev"])
    with open_door(tmp_path / "data", under=under) as door, associate(door.port) as association:
        for one in series:
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000

    calls = read_trace(trace)
    inbox = str(tmp_path / "data" / "inbox")
    responses = of(calls, "sendto", P_DATA_TF)
    assert len(responses) == len(series)
    before = 0
    for one, response in zip(series, responses, strict=True):
        digest = read_instance(encode(one)).digest
        (written,) = of(calls, "write", f"{inbox}/{digest}.")
        (synced,) = of(calls, "fsync", f"{inbox}/{digest}.")
        assert before < written.ended < synced.began, "what was synced is what was written"
        assert synced.answer == 0
        folders = [call for call in of(calls, "fsync", f"<{inbox}>") if call.answer == 0 and synced.ended < call.began]
        assert any(folder.ended < response.began for folder in folders), "the directory entry is on disk, too"
        before = response.ended
