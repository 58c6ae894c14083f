"""How well the AI does, and for whom: figures from what it said and what readers answered.

Pure: no I/O and no clock; numpy and scipy. `record` is one analysed study, `history` many of them as columns, `figures`
all that is told of a window. What each figure means and does not mean: docs/observatory.md.
"""
