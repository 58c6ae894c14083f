"""How often an analysis reads a study's files."""

from collections import Counter
from datetime import UTC, datetime

from pydicom import filereader

from services.backends.headers import read_instance
from services.triage.finding import Outcome
from services.triage.job import Job, JobPlan, OrderPriority
from services.triage.study import VersionKey
from services.worker.pipeline import analyse
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.segmenter import BrightSegmenter


def test_a_file_is_read_for_its_header_and_for_its_pixels_and_not_again_for_the_report(tmp_path, monkeypatch):
    paths = write_series(chest_with_ball(), tmp_path)
    instances = tuple(read_instance(path) for path in paths)
    path_of = {instance.digest: path for instance, path in zip(instances, paths, strict=True)}
    header = instances[0].header
    job = Job(
        job_id="job",
        version=VersionKey(study_instance_uid=header.study_instance_uid, number=1),
        plan=JobPlan(model_name="ct_lung_lesion", series_instance_uid=header.series_instance_uid),
        priority=OrderPriority.ROUTINE,
        attempt=1,
        study=instances[0].study,
        instances=instances,
    )
    read: Counter[str] = Counter()
    begin = filereader.read_partial

    def counted(file, *arguments, **options):
        read[file.name] += 1
        return begin(file, *arguments, **options)

    monkeypatch.setattr(filereader, "read_partial", counted)
    segmenter = BrightSegmenter()
    result = analyse(
        job,
        segmenter.model("ct_lung_lesion"),
        path_of=path_of.__getitem__,
        segmenter=segmenter,
        now=datetime.now(UTC),
        progress=lambda _: None,
    )
    assert result.finding.outcome is Outcome.FOUND
    assert read == {str(path): 2 for path in paths}
