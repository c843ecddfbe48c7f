"""What the table of the transport says of its rounds."""

from __future__ import annotations

from loadtest.transport import ALONE, COPIES, WAYS, Cost, rows_of


def test_transport_is_what_a_round_took_more_than_the_pipeline_in_the_same_round() -> None:
    costs = {
        ALONE: Cost([10.0, 20.0, 30.0], [9.0, 9.0, 9.0]),
        WAYS[0]: Cost([11.0, 21.5, 30.5], [10.0, 11.0, 9.5]),
        WAYS[1]: Cost([15.0, 25.0, 36.0], [12.0, 13.0, 14.0]),
        COPIES: Cost([0.4, 0.5, 0.6], [0.3, 0.4, 0.5]),
    }
    assert rows_of(costs) == [
        ["not at all", "", "", "20.00"],
        [COPIES, "0.50", "0.40", ""],
        [WAYS[0], "1.00", "1.00", "21.50"],
        [WAYS[1], "5.00", "4.00", "25.00"],
    ]


def test_a_turn_is_divided_by_its_frames() -> None:
    cost, done = Cost(), []
    cost.turn(lambda: done.append(1), 10, None)
    assert done == [1]
    assert 0 <= cost.cpu_ms[0] <= cost.wall_ms[0] + 1
