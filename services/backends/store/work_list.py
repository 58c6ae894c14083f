"""The query of the work list: filters, search, order, and pages that begin behind a study."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import LISTED, AiSays, ShownState, StudyRow, TimeToFlag
from services.backends.store.columns import UtcTime
from services.backends.store.detail import model_of, reason_of
from services.backends.store.reading_state import reading_of_row
from services.backends.store.sight import Sight
from services.backends.store.tables import blind_hold, board, model_off, recall, result, study, study_version, workitem
from services.backends.store.versions import attributes_of
from services.backends.store.withheld import runs, switched_off
from services.triage.finding import Flag, Outcome
from services.triage.job import OrderPriority
from services.triage.reading import ReadingState
from services.triage.workitem import ProcedureStepState

# made once: an alias takes longer to make than a small query to answer
_LINE, _LEADING, _HELD = board.alias("line"), result.alias("leading"), result.alias("held")
# what a line does not show
_UNLISTED = {"timings_s", "inference", "organs"}

_LINES = (
    sa.select(
        study,
        *(column.label(f"board_{column.name}") for column in board.c),
        *(column.label(f"result_{column.name}") for column in result.c if column.name not in _UNLISTED),
    )
    .join_from(board, study, board.c.study_instance_uid == study.c.study_instance_uid)
    .add_columns(
        recall.c.recalled_at,
        workitem.c.state.label("review"),
        study_version.c.opened_at,
        study_version.c.priority_from,
        switched_off().label("switched_off"),
    )
    .outerjoin(result, board.c.result_id == result.c.result_id)
    .outerjoin(recall, board.c.result_id == recall.c.result_id)
    .outerjoin(workitem, board.c.result_id == workitem.c.result_id)
    .outerjoin(
        study_version,
        sa.and_(
            study_version.c.study_instance_uid == board.c.study_instance_uid, study_version.c.number == board.c.version
        ),
    )
)


def lines(now: datetime) -> sa.Select[Any]:
    """Lines, unnarrowed; each with the time until which something is withheld of the version that it tells of."""
    until = _holds(result, now).correlate(result).with_only_columns(sa.func.max(blind_hold.c.until)).scalar_subquery()
    return _LINES.add_columns(sa.type_coerce(until, UtcTime()).label("withheld_until"))


def _holds(leading: sa.FromClause, now: datetime) -> sa.Select[Any]:
    """What withholds a result of the version that a leading result is of."""
    return sa.select(blind_hold).where(
        blind_hold.c.result_id == _HELD.c.result_id,
        _HELD.c.study_instance_uid == leading.c.study_instance_uid,
        _HELD.c.version == leading.c.version,
        *runs(now),
    )


def _is_off() -> sa.ColumnElement[bool]:
    """Of a line of the board: the model whose result leads is switched off, so that what it said does not count."""
    off = sa.exists().where(_LEADING.c.result_id == board.c.result_id, switched_off(_LEADING))
    # asked once for a query, not for each line: hardly ever is one
    return sa.and_(sa.exists(sa.select(model_off.c.model_name)), off)


def _is_withheld(now: datetime) -> sa.ColumnElement[bool]:
    """Of a line of the board, by the few holds that run."""
    studies = _holds(_LEADING, now).where(_LINE.c.result_id == _LEADING.c.result_id)
    return board.c.study_instance_uid.in_(studies.with_only_columns(_LINE.c.study_instance_uid))


_APART = "\n"  # nothing that is searched for has it


def _one_text() -> sa.ColumnElement[str]:
    """What is searched, as one: looking through it takes half the time of one column after the other."""
    text: sa.ColumnElement[str] = sa.type_coerce(study.c.study_instance_uid, sa.Text)
    for column in (study.c.patient_id, study.c.patient_name, study.c.accession_number, study.c.study_description):
        text = text + _APART + sa.type_coerce(column, sa.Text)
    return text


_SEARCHED = _one_text()
_OPEN = frozenset({ReadingState.UNREAD, ReadingState.TAKEN})
NOBODY = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkListFilter:
    """Which studies; of each collection any, an empty one: all.

    states: None: all but out of scope. search: part of a patient name or ID, an accession number, a description or a
    UID, in any case. modalities: the study has one of these. reader: who has taken or read
    it, NOBODY: nobody; None: whoever. tenant: whose; None: everybody's.
    """

    states: Collection[ShownState | str] | None = None
    priorities: Collection[OrderPriority] = ()
    ai_says: Collection[AiSays] = ()
    modalities: Collection[str] = ()
    models: Collection[str] = ()
    readings: Collection[ReadingState] = ()
    reader: str | None = None
    tenant: str | None = None
    search: str = ""


EVERYTHING = WorkListFilter()


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A place in the list, behind or (backwards) before a study."""

    rank: float
    study_instance_uid: str
    backwards: bool = False

    @classmethod
    def of(cls, row: StudyRow, *, backwards: bool = False) -> "Place":
        """Behind, or before, the study of this row."""
        return cls(rank=row.rank, study_instance_uid=row.study.study_instance_uid, backwards=backwards)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows in the order of the list; before, after: where the pages beside it are, None where there is none."""

    rows: tuple[StudyRow, ...]
    before: Place | None
    after: Place | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """How many studies of the list are not read yet.

    All, STAT, urgent by the AI, such that the AI did not see, and such that it measured organs of, and no more.
    """

    everything: int
    stat: int
    urgent: int
    unseen: int
    organs: int


def page(
    connection: Connection, wanted: WorkListFilter, *, at: Place | None, limit: int, now: datetime, sight: Sight
) -> Page:
    """So many rows from a place on; None: from the top."""
    backwards = at is not None and at.backwards
    keys = (board.c.rank, board.c.study_instance_uid)
    found_lines = lines(now).where(*_conditions(wanted, now, sight))
    found_lines = found_lines.order_by(*(key.desc() if backwards else key for key in keys))
    if at is not None:
        here = sa.tuple_(sa.literal(at.rank, sa.Float), sa.literal(at.study_instance_uid))
        found_lines = found_lines.where(sa.tuple_(*keys) < here if backwards else sa.tuple_(*keys) > here)
    found = [sight.row(study_row(row)) for row in connection.execute(found_lines.limit(limit + 1))]
    more, rows = len(found) > limit, found[:limit]
    if backwards:
        rows.reverse()
    return Page(
        rows=tuple(rows),
        before=Place.of(rows[0], backwards=True) if rows and (more if backwards else at is not None) else None,
        after=Place.of(rows[-1]) if rows and (backwards or more) else None,
    )


def waiting(connection: Connection, tenant: str | None, *, now: datetime, sight: Sight) -> Waiting:
    """Counted over the list as it is without a filter."""
    of_whom = [*sight.conditions(), *([study.c.tenant == tenant] if tenant is not None else [])]

    def counted(*conditions: sa.ColumnElement[bool]) -> Counter[tuple[int, str]]:
        """By priority and by what the AI said. Without conditions the index alone tells."""
        keys = (board.c.priority, board.c.ai_says)
        unread = (sa.not_(board.c.is_read), board.c.state.in_(sorted(LISTED)), *conditions)
        query = sa.select(*keys, sa.func.count().label("lines")).where(*unread).group_by(*keys)
        if of_whom:
            of_study = board.c.study_instance_uid == study.c.study_instance_uid
            query = query.join_from(board, study, of_study).where(*of_whom)
        return Counter({(row.priority, row.ai_says): row.lines for row in connection.execute(query)})

    def said(lines: Counter[tuple[int, str]], what: AiSays) -> int:
        return sum(count for (_, ai_says), count in lines.items() if ai_says == what)

    lines, withheld = counted(), _is_withheld(now)
    off = counted(_is_off(), sa.not_(withheld))
    told = lines - counted(withheld) - off
    return Waiting(
        everything=lines.total(),
        stat=sum(count for (priority, _), count in lines.items() if priority == OrderPriority.STAT),
        urgent=said(told, AiSays.URGENT),
        unseen=said(told, AiSays.UNSEEN) + off.total(),
        organs=said(told, AiSays.ORGANS),
    )


def model_names(connection: Connection) -> tuple[str, ...]:
    """Of the models whose result leads any study."""
    # from one name in the index to the next: DISTINCT would read every line of the board
    first = sa.select(sa.func.min(board.c.model_name).label("name")).cte("name", recursive=True)
    following = sa.select(sa.func.min(board.c.model_name)).where(board.c.model_name > first.c.name).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    return tuple(sorted(connection.scalars(sa.select(names.c.name).where(names.c.name.is_not(None)))))


def _conditions(wanted: WorkListFilter, now: datetime, sight: Sight) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [
        *sight.conditions(),
        board.c.state.in_(sorted(LISTED if wanted.states is None else wanted.states)),
    ]
    of_columns: tuple[tuple[sa.Column[Any], Collection[Any]], ...] = (
        (board.c.priority, wanted.priorities),
        (board.c.model_name, wanted.models),
    )
    found += [column.in_(sorted(values)) for column, values in of_columns if values]
    if wanted.ai_says:
        found.append(_of_ai(set(wanted.ai_says), now))
    found += _of_reading(set(wanted.readings))
    if wanted.modalities:
        found.append(sa.or_(*(_has_modality(each) for each in wanted.modalities)))
    if wanted.reader is not None:
        found.append(board.c.reader == wanted.reader if wanted.reader else board.c.reader.is_(None))
    if wanted.tenant is not None:
        found.append(study.c.tenant == wanted.tenant)
    if wanted.search:
        # a name that is hidden is not to be guessed at either
        searched = _SEARCHED if sight.sees_patients else sa.type_coerce(study.c.study_instance_uid, sa.Text)
        matches = searched.icontains(wanted.search, autoescape=True)
        found.append(board.c.study_instance_uid.in_(sa.select(study.c.study_instance_uid).where(matches)))
    return found


def _of_ai(wanted: set[AiSays], now: datetime) -> sa.ColumnElement[bool]:
    """The board tells what the AI said also where it is withheld: nobody finds that out by a filter."""
    withheld, off = _is_withheld(now), _is_off()
    told = sa.and_(board.c.ai_says.in_(sorted(wanted)), sa.not_(withheld), sa.not_(off))
    others = {AiSays.WITHHELD: withheld, AiSays.UNSEEN: sa.and_(off, sa.not_(withheld))}
    return sa.or_(told, *(condition for each, condition in others.items() if each in wanted))


def _of_reading(wanted: set[ReadingState]) -> Sequence[sa.ColumnElement[bool]]:
    if not wanted or wanted == set(ReadingState):
        return ()
    if wanted == _OPEN:
        return (sa.not_(board.c.is_read),)
    taken = sa.and_(sa.not_(board.c.is_read), board.c.reader.is_not(None))
    unread = sa.and_(sa.not_(board.c.is_read), board.c.reader.is_(None))
    of_state = {ReadingState.UNREAD: unread, ReadingState.TAKEN: taken, ReadingState.READ: board.c.is_read}
    return (sa.or_(*(of_state[each] for each in sorted(wanted))),)


def _has_modality(modality: str) -> sa.ColumnElement[bool]:
    """The column holds a JSON list of them."""
    return sa.cast(board.c.modalities, sa.Text).contains(f'"{modality}"', autoescape=True)


def study_row(row: sa.Row[Any]) -> StudyRow:
    """The row of `lines` as it is shown."""
    has_result = row.result_result_id is not None and row.withheld_until is None
    recalled = row.recalled_at is not None
    lesions = () if recalled or not has_result else row.result_lesions
    result_reason = reason_of(row.result_reason_code, row.result_reason_text)
    return StudyRow(
        study=attributes_of(row),
        state=ShownState(row.board_state),
        priority=OrderPriority(row.board_priority),
        version=row.board_version,
        modalities=row.board_modalities,
        series_count=row.board_series_count,
        instance_count=row.board_instance_count,
        received_at=row.board_received_at,
        last_instance_at=row.board_last_instance_at,
        completed_at=row.board_completed_at,
        frozen_at=row.result_frozen_at,
        result_version=row.result_version,
        outcome=Outcome(row.result_outcome) if has_result and not recalled else None,
        flag=Flag(row.result_flag) if has_result and not recalled else None,
        score=row.result_score if has_result and not recalled else None,
        calibrated=has_result and bool(row.result_calibrated),
        model=model_of(row.result_model_name, row.result_model_version, row.result_weights_sha256)
        if row.result_result_id is not None
        else None,
        recalled=recalled,
        already_reported=row.board_already_reported,
        review=ProcedureStepState(row.review) if row.review is not None else None,
        lesion_count=len(lesions),
        largest_long_axis_mm=max((lesion.long_axis_mm for lesion in lesions), default=None),
        reason=reason_of(row.board_reason_code, row.board_reason_text),
        result_reason=result_reason if has_result and not recalled else None,
        tenant=row.tenant,
        time_to_flag=TimeToFlag.between(row.board_first_image_at, row.board_last_image_at, row.board_flagged_at)
        if row.board_flagged_at
        else None,
        opened_at=row.opened_at,
        priority_from=row.priority_from or "",
        result_id=row.result_result_id,
        reading=reading_of_row(row),
        rank=row.board_rank,
        withheld_until=row.withheld_until,
        switched_off=bool(row.switched_off),
        images_deleted_at=row.images_deleted_at,
    )
