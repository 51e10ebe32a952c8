"""Which texts a self-test replays: few, short, and golden ones of as many prompts and groups as there are."""

from __future__ import annotations

from model_health.baseline.observations import Kind
from model_health.replay.plan import ReplayItem
from model_health.selftest.request import DEFAULT_LONGEST as LONGEST
from model_health.selftest.stage import choose, reordered
from support.replays import made_up, made_up_item


def item(name: str, kind: Kind, group: str = "facts", length: int = 10) -> ReplayItem:
    return ReplayItem(f"{name}:{kind}", name, kind, group, (1,) * length, (2, 3))


def names(items: tuple[ReplayItem, ...]) -> list[str]:
    return [one.item_id for one in items]


def test_written_texts_come_first_then_golden_ones_in_turn_by_group_in_the_order_of_the_plan() -> None:
    plan = [
        item("a", "continuation"),
        item("a", "golden"),
        item("b", "golden"),
        item("c", "golden"),
        item("d", "golden", "poems"),
    ]
    assert names(choose(plan, 4)) == ["a:continuation", "a:golden", "b:golden", "d:golden"]
    assert choose(plan, 99) == tuple(plan)


def test_a_long_text_is_left_out_while_there_are_enough_short_ones() -> None:
    plan = [item("long", "golden", length=LONGEST + 1), item("a", "golden"), item("b", "golden")]
    assert names(choose(plan, 2)) == ["a:golden", "b:golden"]
    assert names(choose(plan, 3)) == ["long:golden", "a:golden", "b:golden"]


def test_texts_may_be_asked_to_be_shorter_still() -> None:
    plan = [item("a", "golden", length=30), item("b", "golden", length=5), item("c", "golden", length=6)]
    assert names(choose(plan, 2, 10)) == ["b:golden", "c:golden"]


def test_where_all_texts_are_long_the_shortest_are_taken() -> None:
    plan = [item(f"n{n}", "golden", length=LONGEST + 9 - n) for n in range(4)]
    assert names(choose(plan, 2)) == ["n2:golden", "n3:golden"]


def test_items_that_were_replayed_in_another_order_are_put_back() -> None:
    usual = made_up(made_up_item("a:golden"), made_up_item("b:golden", 6, 1))
    turned = made_up(*reversed(usual.items))
    assert [one.item_id for one in reordered(turned, usual).items] == ["a:golden", "b:golden"]
