"""The reads of DICOMweb: which instances there are, sources and results alike, each the newest of its UID."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Connection, Engine

from services.backends.person_name import parts_of_index
from services.backends.store.engine import reading
from services.backends.store.sight import EVERYTHING, Sight
from services.backends.store.tables import board, instance, result, study, verdict_document
from services.backends.store.tables import result_object as every_object
from services.backends.store.versions import attributes_of
from services.backends.store.withheld import is_held, kept_back
from services.triage.result import LABEL_MAP_STORAGE, ObjectKind
from services.triage.study import InstanceHeader, StudyAttributes


def _shown(now: datetime) -> sa.Subquery:
    """The objects of results that are not withheld; of the forms of the same lesions only SEG and its report.

    So nothing is shown twice. And the documents of readers' verdicts. What is kept back from the PACS is not given out
    here either.
    """
    sibling = every_object.alias()
    beside = sa.exists().where(sibling.c.result_id == every_object.c.result_id, sibling.c.names == ObjectKind.SEG)
    second = sa.and_(every_object.c.modality == "SR", every_object.c.names.is_distinct_from(ObjectKind.SEG), beside)
    label_map = every_object.c.sop_class_uid == LABEL_MAP_STORAGE
    leaves = sa.or_(every_object.c.note, sa.not_(kept_back(every_object.c.result_id)))
    names = ("sop_instance_uid", "series_instance_uid", "sop_class_uid", "sha256")
    of_results = (
        sa.select(result.c.study_instance_uid, every_object.c.modality, *(every_object.c[name] for name in names))
        .join(result, result.c.result_id == every_object.c.result_id)
        .where(sa.not_(is_held(every_object.c.result_id, now)), leaves, sa.not_(label_map), sa.not_(second))
    )
    of_readers = sa.select(
        verdict_document.c.study_instance_uid,
        sa.literal("SR").label("modality"),
        *(verdict_document.c[name] for name in names),
    )
    return sa.union_all(of_results, of_readers).subquery("result_object")


_LAST = 1 << 31  # above any value of VR IS: what has no number comes last


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInstance:
    """One instance and the name of its bytes.

    `digest` is for `StudyFiles.path`, or for `StudyFiles.result_path` where `is_result`. `header`: None for results,
    whose attributes are in their files alone.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    digest: str
    is_result: bool = False
    header: InstanceHeader | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStudy:
    """One study with what is counted over all of its instances, results included."""

    attributes: StudyAttributes
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFilter:
    """Narrows a search in SQL. It never leaves out a match, but lets others through: who asks has the last word.

    The UIDs: any of these; none: all. `patterns`: by the name of a study attribute, with the wildcards * and ?
    (PS3.4 C.2.2.2.4). `name_like`: a patient's name that is this one fuzzily will do too. `dates`: first and last,
    YYYYMMDD, '' where open. `modalities`: any of these. `tenant`: whose; None: everybody's.
    """

    study_instance_uids: Sequence[str] = ()
    series_instance_uids: Sequence[str] = ()
    sop_instance_uids: Sequence[str] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    name_like: str = ""
    dates: tuple[str, str] = ("", "")
    modalities: Sequence[str] = ()
    tenant: str | None = None


class Archive:
    """What DICOMweb may ask. Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def studies(self, narrowed: StudyFilter, *, limit: int, offset: int) -> list[StoredStudy]:
        """Newest study date first; the order of two studies never depends on the filter."""
        now = self._clock()
        rows = (
            sa.select(study, board.c.modalities)
            .join_from(study, board, board.c.study_instance_uid == study.c.study_instance_uid)
            .where(*conditions_of(narrowed, now), *self._sight.conditions())
            .order_by(study.c.study_date.desc(), study.c.study_time.desc(), study.c.study_instance_uid)
            .limit(limit)
            .offset(offset)
        )
        with reading(self._engine) as connection:
            found = connection.execute(rows).all()
            uids = [row.study_instance_uid for row in found]
            counts, modalities = _counts(connection, uids, now), _result_modalities(connection, uids, now)
        return [
            StoredStudy(
                attributes=attributes_of(row),
                modalities=tuple(sorted({*row.modalities, *modalities[row.study_instance_uid]})),
                series_count=counts[row.study_instance_uid][0],
                instance_count=counts[row.study_instance_uid][1],
            )
            for row in found
        ]

    def instances(
        self, study_instance_uid: str, series_instance_uid: str | None = None, sop_instance_uid: str | None = None
    ) -> list[StoredInstance]:
        """Of a study, a series, or one: by Series and Instance Number, then UID. Of two contents the newest.

        Images that are not kept here any more are left out (`gone`).

        A result that came back from a PACS is the result as it was frozen.
        """
        seen = sa.exists().where(study.c.study_instance_uid == study_instance_uid, *self._sight.conditions())
        newest = instance.c.id.in_(_newest([study_instance_uid], sop_instance_uid))
        sources = sa.select(instance).where(newest, instance.c.deleted_at.is_(None), seen)
        result_object = _shown(self._clock())
        results = sa.select(result_object).where(result_object.c.study_instance_uid == study_instance_uid, seen)
        if sop_instance_uid is not None:
            results = results.where(result_object.c.sop_instance_uid == sop_instance_uid)
        with reading(self._engine) as connection:
            stored = {row.sop_instance_uid: _source(row) for row in connection.execute(sources)}
            stored |= {row.sop_instance_uid: _result(row, study_instance_uid) for row in connection.execute(results)}
        return _in_order([one for one in stored.values() if series_instance_uid in (None, one.series_instance_uid)])

    def images_of(self, result_id: str) -> list[StoredInstance]:
        """Of the series of a result as its version had it, so far as kept here: none that came since."""
        of_result = sa.select(result).where(result.c.result_id == result_id)
        with reading(self._engine) as connection:
            row = connection.execute(of_result).first()
            if row is None:
                return []
            uid = row.study_instance_uid
            seen = sa.exists().where(study.c.study_instance_uid == uid, *self._sight.conditions())
            newest = instance.c.id.in_(_newest([uid]).where(instance.c.since_version <= row.version))
            mine = newest, instance.c.series_instance_uid == row.series_instance_uid, instance.c.deleted_at.is_(None)
            return _in_order([_source(one) for one in connection.execute(sa.select(instance).where(*mine, seen))])

    def gone(
        self, study_instance_uid: str, series_instance_uid: str | None = None, sop_instance_uid: str | None = None
    ) -> bool:
        """Whether there were images, of a study, a series, or one, that are not kept here any more."""
        names = {"series_instance_uid": series_instance_uid, "sop_instance_uid": sop_instance_uid}
        narrowed = [instance.c[name] == uid for name, uid in names.items() if uid is not None]
        seen = sa.exists().where(study.c.study_instance_uid == study_instance_uid, *self._sight.conditions())
        mine = instance.c.study_instance_uid == study_instance_uid, instance.c.deleted_at.is_not(None)
        with reading(self._engine) as connection:
            return bool(connection.scalar(sa.select(sa.exists().where(*mine, *narrowed), seen).where(seen)))


def conditions_of(narrowed: StudyFilter, now: datetime) -> list[sa.ColumnElement[bool]]:
    """The filter as conditions on the tables `study` and `board`, joined. now: of what is withheld, nothing matches."""
    result_object = _shown(now)
    uid = study.c.study_instance_uid
    matched = {name: getattr(study.c, name).ilike(_like(pattern)) for name, pattern in narrowed.patterns.items()}
    if narrowed.name_like:
        literally = matched.get("patient_name", sa.false())
        matched["patient_name"] = sa.or_(literally, _is_like(narrowed.name_like))
    conditions = [matched[name] for name in sorted(matched)]
    if narrowed.study_instance_uids:
        conditions.append(uid.in_(narrowed.study_instance_uids))
    for name in ("series_instance_uid", "sop_instance_uid"):
        uids = getattr(narrowed, f"{name}s")
        if uids:
            sources = sa.select(instance.c.study_instance_uid).where(instance.c[name].in_(uids))
            results = _studies_of_results(result_object).where(result_object.c[name].in_(uids))
            conditions.append(sa.or_(uid.in_(sources), uid.in_(results)))
    if narrowed.tenant is not None:
        conditions.append(study.c.tenant == narrowed.tenant)
    first, last = narrowed.dates
    if first:
        conditions.append(study.c.study_date >= first)
    if last:
        conditions.append(study.c.study_date <= last)
    if narrowed.modalities:
        listed = sa.type_coerce(board.c.modalities, sa.Text)  # a JSON list of strings
        conditions.append(
            sa.or_(
                *(listed.contains(f'"{each}"', autoescape=True) for each in narrowed.modalities),
                uid.in_(_studies_of_results(result_object).where(result_object.c.modality.in_(narrowed.modalities))),
            )
        )
    return conditions


def _studies_of_results(result_object: sa.Subquery) -> sa.Select[tuple[str]]:
    return sa.select(result_object.c.study_instance_uid)


def _is_like(name: str) -> sa.ColumnElement[bool]:
    index = study.c.name_index
    every_word = (sa.or_(*(index.contains(each, autoescape=True) for each in word)) for word in parts_of_index(name))
    return sa.or_(index.is_(None), sa.and_(sa.true(), *every_word))


def _like(pattern: str) -> str:
    """For LIKE in any case, anywhere in the value.

    Characters that an engine would escape, or whose case only one of them folds (SQLite: ASCII alone), match anything;
    so do the delimiters of a person's name, which may be left out at its end.
    """
    return "%" + re.sub(r" *[*^=] *", "%", re.sub(r"[\\?]|[^\x00-\x7f]", "_", pattern)) + "%"


def _newest(study_instance_uids: Sequence[str], sop_instance_uid: str | None = None) -> sa.Select[tuple[int]]:
    """The ids of the rows that stand for their UID in these studies."""
    newest = (
        sa.select(sa.func.max(instance.c.id))
        .where(instance.c.study_instance_uid.in_(study_instance_uids))
        .group_by(instance.c.study_instance_uid, instance.c.sop_instance_uid)
    )
    return newest if sop_instance_uid is None else newest.where(instance.c.sop_instance_uid == sop_instance_uid)


def _counts(connection: Connection, uids: Sequence[str], now: datetime) -> dict[str, tuple[int, int]]:
    """Study -> (series, instances); a UNION, for a result that came back is in both tables."""
    result_object = _shown(now)
    names = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
    here = instance.c.id.in_(_newest(uids)), instance.c.deleted_at.is_(None)
    sources = sa.select(*(instance.c[name] for name in names)).where(*here)
    results = sa.select(*(result_object.c[name] for name in names)).where(result_object.c.study_instance_uid.in_(uids))
    both = sa.union(sources, results).subquery()
    study_uid, series_uid, sop_uid = (both.c[name] for name in names)
    rows = connection.execute(
        sa.select(study_uid, sa.func.count(sa.distinct(series_uid)), sa.func.count(sa.distinct(sop_uid))).group_by(
            study_uid
        )
    )
    return {uid: (series, instances) for uid, series, instances in rows}


def _result_modalities(connection: Connection, uids: Sequence[str], now: datetime) -> dict[str, set[str]]:
    result_object = _shown(now)
    found: dict[str, set[str]] = defaultdict(set)
    rows = connection.execute(
        _studies_of_results(result_object)
        .where(result_object.c.study_instance_uid.in_(uids))
        .add_columns(result_object.c.modality)
        .distinct()
    )
    for uid, modality in rows:
        found[uid].add(modality)
    return found


def _source(row: sa.Row[Any]) -> StoredInstance:
    header: InstanceHeader = row.header
    return StoredInstance(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        modality=header.modality,
        digest=row.digest,
        header=header,
    )


def _result(row: sa.Row[Any], study_instance_uid: str) -> StoredInstance:
    return StoredInstance(
        study_instance_uid=study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        modality=row.modality,
        digest=row.sha256,
        is_result=True,
    )


def _in_order(stored: Sequence[StoredInstance]) -> list[StoredInstance]:
    """Series together, whatever Series Numbers its instances tell; results after their sources, SEG before SR."""
    series: dict[str, tuple[int, str]] = {}
    for one in stored:
        place = (_number(one.header.series_number if one.header else None), one.modality)
        series[one.series_instance_uid] = min(place, series.get(one.series_instance_uid, place))
    return sorted(
        stored,
        key=lambda one: (
            series[one.series_instance_uid],
            one.series_instance_uid,
            _number(one.header.instance_number if one.header else None),
            one.sop_instance_uid,
        ),
    )


def _number(told: int | None) -> int:
    return _LAST if told is None else told
