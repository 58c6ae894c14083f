"""`vigie probe`: what a sender and a reader would do, step by step, to see that all of it works."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from services.backends.senders.association import OutgoingFile, associate, established
from services.backends.senders.destinations import split_address
from services.backends.senders.link import PLAIN, Link, Tls
from services.triage.errors import DestinationRefused, DestinationUnavailable

PATIENT_ID = "VIGIE-PROBE"
LOOK_AGAIN_S = 1.0
FINAL = frozenset({"analysed", "not_analysed", "failed", "out_of_scope"})


class ProbeFailed(Exception):
    """What did not work, and where to look; the text is for the person who asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Door:
    """peer: AET@HOST:PORT. ae_title: what we call ourselves there."""

    peer: str
    ae_title: str
    link: Link


def probe(
    peer: Annotated[str, typer.Argument(metavar="AET@HOST:PORT", help="The DICOM port of Vigie.")],
    api: Annotated[str, typer.Argument(metavar="URL", help="Vigie's HTTP API: http://HOST:PORT.")],
    study: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a sample study that is sent, each time as a new one.", exists=True, file_okay=False
        ),
    ] = None,
    ae_title: Annotated[str, typer.Option(help="Our own AE title.")] = "VIGIE",
    wait: Annotated[float, typer.Option(help="Longest wait for the result, in seconds.")] = 240.0,
    api_key: Annotated[
        str, typer.Option(envvar="VIGIE_API_KEY", help="Key of the API, where it asks for one.", show_default=False)
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS to the DICOM port; so do those that follow.")] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            help="Authorities (PEM) that may have signed its certificate, instead of the machine's.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Our own certificate (PEM), where it asks for one.", exists=True, dir_okay=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.", exists=True, dir_okay=False)] = None,
    tls_name: Annotated[
        str | None, typer.Option(help="Name that its certificate must have. Default: the HOST that is called.")
    ] = None,
) -> None:
    """See that Vigie works: C-ECHO, its checks, and with --study a study that is sent and whose result is read.

    The study stays, under the patient ID VIGIE-PROBE. Its result goes where results go, and is recalled at the end.
    Exit code: 0 all works, 1 something does not, 2 wrong usage.
    """
    try:
        split_address(peer)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if (tls_certificate is None) != (tls_key is None):
        raise typer.BadParameter("--tls-certificate and --tls-key belong together")
    spoken = tls or any((tls_ca, tls_certificate, tls_name))
    secured = Tls(ca=tls_ca, certificate=tls_certificate, key=tls_key, server_name=tls_name)
    door = _Door(peer=peer, ae_title=ae_title, link=Link(tls=secured) if spoken else PLAIN)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(base_url=api.rstrip("/"), headers=headers, timeout=30) as client:
        try:
            for told in _steps(door, client, study, wait):
                typer.echo(f"ok      {told}")
        except ProbeFailed as failure:
            typer.echo(f"FAILED  {failure}")
            raise typer.Exit(1) from failure


def _steps(door: _Door, client: httpx.Client, study: Path | None, wait_s: float) -> Iterator[str]:
    """Each step, told when it is done. Raises ProbeFailed."""
    yield _echo(door)
    yield _checks(client)
    if study is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        uid, files = _as_new(study, Path(folder))
        _send(files, door)
    yield f"{len(files)} images sent: study {uid} of the patient {PATIENT_ID}, which stays"
    detail, seconds = _result(client, uid, wait_s)
    results = [job["result"] for job in detail["versions"][0]["jobs"] if job["result"]]
    sizes = [_object(client, each["sop_instance_uid"]) for result in results for each in result["objects"]]
    model = results[0]["model"]
    yield f"a result by {model['name']} {model['version']} after {seconds:.0f} s, {len(sizes)} objects read back"
    for result in results:
        _answer(client, "POST", f"/api/results/{result['result_id']}/recall", json={"reason": "vigie probe"})
    yield "the result recalled: it moves nothing up in the list"


def _echo(door: _Door) -> str:
    peer, ae_title = door.peer, door.ae_title
    try:
        with established(peer, ae_title, [build_context(Verification)], link=door.link) as association:
            status = association.send_c_echo().get("Status")
    except (DestinationUnavailable, DestinationRefused) as error:
        raise ProbeFailed(f"C-ECHO: {error}. Is the door running, and may {ae_title} call it?") from error
    if status != 0:
        raise ProbeFailed(f"C-ECHO: {peer} answered {status if status is None else hex(status)}")
    return f"C-ECHO: {peer} answers{' over TLS' if door.link.tls else ''}"


def _checks(client: httpx.Client) -> str:
    """Every check of /readyz holds."""
    try:
        found = _ask(client, "GET", "/readyz").json()["checks"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeFailed("GET /readyz: what answers is not Vigie") from error
    if failing := [f"{check['name']} ({check['cause']})" for check in found if not check["ok"]]:
        raise ProbeFailed(f"checks: {'; '.join(failing)}")
    return f"checks: {', '.join(check['name'] for check in found)}"


def _as_new(study: Path, folder: Path) -> tuple[str, list[OutgoingFile]]:
    """The sample under new UIDs, so that it is not known already; and its Study Instance UID. Raises ProbeFailed."""
    uids: dict[str, str] = {}
    files: list[OutgoingFile] = []
    for path in sorted(study.rglob("*.dcm")):
        image = dcmread(path)
        _rename(image, uids)
        target = folder / f"{len(files)}.dcm"
        image.save_as(target)
        files.append(OutgoingFile.read(target))
    if not files:
        raise ProbeFailed(f"no sample: there are no .dcm files in {study}")
    return uids["study"], files


def _rename(image: FileDataset, uids: dict[str, str]) -> None:
    """New UIDs, the same ones for the same series and study, and a patient that nobody takes for one."""
    for key, keyword in (("study", "StudyInstanceUID"), (image.SeriesInstanceUID, "SeriesInstanceUID")):
        setattr(image, keyword, uids.setdefault(key, generate_uid(prefix=None)))
    image.FrameOfReferenceUID = uids.setdefault(image.FrameOfReferenceUID, generate_uid(prefix=None))
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    image.PatientID, image.PatientName = PATIENT_ID, "Probe^Vigie"
    image.StudyDescription = f"vigie probe, no patient: {image.get('StudyDescription', '')}"[:64]


def _send(files: list[OutgoingFile], door: _Door) -> None:
    try:
        with associate(door.peer, door.ae_title, files, implicit_fallback=False, link=door.link) as association:
            for file in files:
                association.store(file)
    except (DestinationUnavailable, DestinationRefused) as error:
        raise ProbeFailed(f"C-STORE: {error}") from error


def _result(client: httpx.Client, uid: str, wait_s: float) -> tuple[dict[str, Any], float]:
    """The study once it is analysed, and the seconds that it took. Raises ProbeFailed."""
    begin = time.monotonic()
    state = "unknown"
    while (seconds := time.monotonic() - begin) < wait_s:
        answer = _ask(client, "GET", f"/api/studies/{uid}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            _must_be_good(answer)
            detail: dict[str, Any] = answer.json()
            state = detail["summary"]["state"]
            if state == "analysed":
                return detail, seconds
            if state in FINAL:
                reason = (detail["summary"]["reason"] or {}).get("text", "no reason is told")
                raise ProbeFailed(f"the sample is {state}: {reason}. Do the routing rules name a model for it?")
        time.sleep(LOOK_AGAIN_S)
    raise ProbeFailed(
        f"no result within {wait_s:.0f} s: the study is '{state}'. receiving: see the door's log; queued: the "
        "workers'; analysing: Triton's. It stays, and its result will come"
    )


def _object(client: httpx.Client, sop_instance_uid: str) -> int:
    content = _answer(client, "GET", f"/api/results/{sop_instance_uid}").content
    if content[128:132] != b"DICM":
        raise ProbeFailed(f"the result object {sop_instance_uid} is no DICOM file")
    return len(content)


def _answer(client: httpx.Client, method: str, path: str, **body: Any) -> httpx.Response:
    """A good answer. Raises ProbeFailed."""
    answer = _ask(client, method, path, **body)
    _must_be_good(answer)
    return answer


def _ask(client: httpx.Client, method: str, path: str, **body: Any) -> httpx.Response:
    """Any answer. Raises ProbeFailed."""
    try:
        return client.request(method, path, **body)
    except httpx.HTTPError as error:
        raise ProbeFailed(f"{method} {path}: no answer ({type(error).__name__}). Is the desk running?") from error


def _must_be_good(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    asked = f"{answer.request.method} {answer.request.url.path}: HTTP {answer.status_code}"
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ProbeFailed(f"{asked}. The desk asks for a key that may do this: VIGIE_API_KEY")
    raise ProbeFailed(asked)
