from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.data.benchmarks.sample import Sample
from reference.data.scene import Turn
from reference.judging.asking import SeenScene, ask_scene
from reference.judging.rooms import JudgedRooms
from reference.metrics.records import Prediction
from tiny import Tiny, tiny_ross3d


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    made = tiny_ross3d()
    made.model.eval()
    return made


@pytest.fixture(scope="module")
def rooms(tiny: Tiny) -> JudgedRooms:
    return JudgedRooms(tiny.source, limit=2)


def ask(tiny: Tiny, rooms: JudgedRooms, batch: int) -> dict[str, Prediction]:
    """Everything about the first room."""
    predicted: dict[str, Prediction] = {}
    options = {"batch": batch, "longest": 6}
    samples, scene = rooms.samples(0), rooms.scene(0)
    for chunk in ask_scene(tiny.model, scene, samples, tiny.collate, **options):
        predicted |= {sample.id: prediction for sample, prediction in chunk}
    assert set(predicted) == {sample.id for sample in samples}
    return predicted


def test_questions_do_not_see_one_another(tiny: Tiny, rooms: JudgedRooms) -> None:
    alone, together = (ask(tiny, rooms, batch) for batch in (1, 8))
    assert alone == together
    kinds = {sample.id: sample.task for sample in rooms.samples(0)}
    assert {"scanqa", "scan2cap", "scanrefer", "multi3drefer"} <= set(kinds.values())
    for identity, prediction in alone.items():
        if kinds[identity] == "scanrefer":
            assert prediction.boxes is not None
            assert len(prediction.boxes) == 1
        assert (prediction.text is None) == kinds[identity].endswith("refer")


def test_the_scene_is_encoded_once(
    tiny: Tiny, rooms: JudgedRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, encode = [], tiny.model.lmm.encode
    monkeypatch.setattr(tiny.model.lmm, "encode", lambda x: (count.append(x), encode(x))[1])
    spoken = [x for x in rooms.samples(0) if x.answers]
    list(ask_scene(tiny.model, rooms.scene(0), spoken, tiny.collate, batch=2, longest=2))
    assert len(count) == 1


def test_answers_are_those_of_the_model(tiny: Tiny, rooms: JudgedRooms) -> None:
    turns = [sample.turn for sample in rooms.samples(0) if sample.answers]
    scene = rooms.scene(0)
    asked = tiny.collate.questions([replace(scene, turns=(turn,)) for turn in turns])
    ids = tiny.model.answer(asked, max_new_tokens=5, **tiny.collate.stop)
    said = SeenScene(tiny.model, scene, tiny.collate).answer(turns, 5)
    assert said == [tiny.collate.decode(row) for row in ids]


def test_the_truth_does_not_enter(tiny: Tiny, rooms: JudgedRooms) -> None:
    phrases = [x for x in rooms.samples(0) if x.task == "scanrefer"]
    lied = [replace(x, turn=replace(x.turn, objects=(99,))) for x in phrases]
    ours, theirs = (
        [p for _, p in next(ask_scene(tiny.model, rooms.scene(0), x, tiny.collate))]
        for x in (phrases, lied)
    )
    assert ours == theirs


def test_an_object_that_no_box_shows_is_not_asked_about(tiny: Tiny, rooms: JudgedRooms) -> None:
    turn = Turn("caption", "describe the object at <coord>.", "a chair")
    sample = Sample("0", "scan2cap", "room", turn, answers=("a chair",))
    ((found,),) = ask_scene(tiny.model, rooms.scene(0), [sample], tiny.collate)
    assert found == (sample, Prediction("0", ""))


def test_a_room_without_objects_has_no_boxes(tiny: Tiny, rooms: JudgedRooms) -> None:
    scene = replace(rooms.scene(0), boxes=torch.zeros(0, 6), objects=())
    phrases = [x for x in rooms.samples(0) if not x.answers]
    (chunk,) = ask_scene(tiny.model, scene, phrases, tiny.collate)
    assert [prediction.boxes for _, prediction in chunk] == [()] * len(phrases)
