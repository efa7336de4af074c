from __future__ import annotations

import pytest
from reference.arms import GRIDS, QUESTIONS, semi_supervised, vary
from reference.build import TASKS
from reference.inputs import INPUTS


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_arms_have_names_and_options_of_their_own(name: str) -> None:
    arms = GRIDS[name]().arms
    assert len({arm.name for arm in arms}) == len({arm.options for arm in arms}) == len(arms)


def test_the_contexts_are_as_before() -> None:
    grid = GRIDS["contexts"]()
    assert [arm.name for arm in grid.arms] == [
        "visible, with places",
        "visible, without",
        "all, with places",
        "all, without",
        "own, with places",
        "own, without",
        "all, with places of targets only",
    ]
    assert grid.about == "context"
    assert grid.rooms is None


def test_every_choice_has_an_arm() -> None:
    assert {arm.options for arm in GRIDS["tasks"]().arms} == {(f"--tasks={t}",) for t in TASKS}
    assert {arm.options[0] for arm in GRIDS["inputs"]().arms} == {f"--input={i}" for i in INPUTS}


def test_the_paper_s_rows_stand_beside() -> None:
    papers = {arm.name: arm.paper for arm in GRIDS["tasks"]().arms}
    assert papers["both"] == (63.0, 107.0, 61.1)
    assert papers["none"] == semi_supervised().arms[-1].paper == (58.6, 102.1, 58.1)
    assert [arm.paper[0] for arm in semi_supervised().arms] == [55.1, 56.4, 57.7, 58.6]
    for other in (semi_supervised(share=0.25), semi_supervised(unlabelled="scans")):
        assert [arm.paper for arm in other.arms] == [None] * 4


def test_semi_supervised_arms() -> None:
    text, there, besides, full = semi_supervised(0.25, "scans", rooms=8).arms
    assert text.options == ("--tasks=none", "--labelled=0.25")
    assert there.options == ("--labelled=0.25",)
    assert besides.options == ("--labelled=0.25", "--unlabelled=scans")
    assert full.options == ("--tasks=none",)
    assert text.name == "25% of the text"
    assert semi_supervised(rooms=8).rooms == 8


def test_options_vary_together() -> None:
    grid = vary(["tasks=none,both", "input=views,voxels,bev"])
    assert grid.about == "tasks, input"
    assert len(grid.arms) == 6
    assert grid.arms[1].name == "none, voxels"
    assert grid.arms[1].options == ("--tasks=none", "--input=voxels")
    assert set(QUESTIONS) < set(grid.figures)


@pytest.mark.parametrize("choices", [[], ["tasks"], ["=both"], ["tasks=none,"], ["a=1", "a=2"]])
def test_choices_that_are_none_are_refused(choices: list[str]) -> None:
    with pytest.raises(ValueError, match=r"vary must be options such as tasks=none,both; got \["):
        vary(choices)
