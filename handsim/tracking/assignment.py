"""The cheapest one-to-one assignment, exactly: the Hungarian method by shortest augmenting paths.

A frame has few hands, so that this takes less time than to import SciPy, which has it for large matrices.
"""

import numpy as np
from numpy.typing import NDArray


def assign(costs: NDArray[np.floating], limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of costs [N, M], rows rising, no row and no column twice.

    The sum of what the pairs cost below ``limit`` is least: a row or column stays alone rather than in a pair
    that costs ``limit`` or more.
    """
    gains = np.minimum(costs - limit, 0.0)
    if gains.shape[0] > gains.shape[1]:
        pairs = [(row, column) for column, row in enumerate(_assign_rows(gains.T))]
    else:
        pairs = list(enumerate(_assign_rows(gains)))
    return sorted((row, column) for row, column in pairs if gains[row, column] < 0)


def _assign_rows(costs: NDArray[np.floating]) -> list[int]:
    """The column of each row in the cheapest assignment of all rows of costs [N, M], N <= M.

    Kuhn (1955), with potentials as in Jonker and Volgenant (1987): rows are added one by one, each by the
    shortest path of alternately unused and used pairs to a free column, in reduced costs.
    """
    rows, columns = costs.shape
    row_potential, column_potential = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for first in range(rows):
        distance, before = np.full(columns, np.inf), np.full(columns, -1)
        is_done = np.zeros(columns, dtype=np.bool_)
        row, column, reached = first, -1, 0.0
        while row >= 0:
            through = reached + costs[row] - row_potential[row] - column_potential
            is_shorter = ~is_done & (through < distance)
            distance[is_shorter], before[is_shorter] = through[is_shorter], column
            column = int(np.where(is_done, np.inf, distance).argmin())
            reached, is_done[column] = float(distance[column]), True
            row = int(row_of[column])
        slack = np.where(is_done, reached - distance, 0.0)
        column_potential -= slack
        row_potential[first] += reached
        is_met = is_done & (row_of >= 0)
        row_potential[row_of[is_met]] += slack[is_met]
        while column >= 0:  # back along the path: each of its columns gets the row of the one before
            former = int(before[column])
            row_of[column] = first if former < 0 else row_of[former]
            column = former
    column_of: list[int] = np.argsort(np.where(row_of < 0, columns, row_of), kind="stable")[:rows].tolist()
    return column_of
