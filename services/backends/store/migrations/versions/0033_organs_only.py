"""Studies of which organs alone were measured are told apart, in the list's filter and its counts.

Older processes run on beside it: such a study that changes last in one of them counts as not looked at, until it
changes again.
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# store.board.ai_says
_ORGANS = """
    UPDATE board SET ai_says = 'organs'
    WHERE ai_says = 'unseen'
        AND result_id IN (SELECT result_id FROM result WHERE reason_code = 'no_tumour_class')
        AND result_id NOT IN (SELECT result_id FROM recall)
"""


def upgrade() -> None:
    """Of the results that stand for a study now."""
    op.execute(_ORGANS)


def downgrade() -> None:
    """They count as not looked at again."""
    op.execute("UPDATE board SET ai_says = 'unseen' WHERE ai_says = 'organs'")
