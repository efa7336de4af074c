from __future__ import annotations

import pytest
import torch
from PIL import Image
from reference import drawing
from reference.grounding_picture import CHOSEN, TRUE, visibility
from reference.pictures import (
    Query,
    bev_picture,
    grounding_picture,
    reconstruction_picture,
    views_picture,
)
from torch import Tensor

from ross3d import BEV, PosedFrames, Reconstruction, Targets

TONE = round(drawing.UNOBSERVED * 255)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All text that is written into pictures."""
    texts: list[str] = []
    write = drawing.ImageDraw.ImageDraw.multiline_text

    def recorded(self: object, place: object, text: str, *rest: object, **more: object) -> None:
        texts.extend(text.split("\n"))
        write(self, place, text, *rest, **more)

    monkeypatch.setattr(drawing.ImageDraw.ImageDraw, "multiline_text", recorded)
    return texts


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    return {colour: count for count, colour in image.getcolors(maxcolors=1 << 24)}


def frames_of(b: int, m: int, height: int = 12, width: int = 16) -> PosedFrames:
    """A wall 2 m in front of cameras that look along x, each turned further to the left."""
    poses = torch.eye(4).repeat(b, m, 1, 1)
    looking = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    for i in range(m):
        angle = torch.tensor(0.9 * i)
        turn = torch.eye(3)
        turn[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
        poses[:, i, :3, :3] = turn @ looking
    intrinsics = torch.tensor([[12.0, 0, 7.5], [0, 12, 5.5], [0, 0, 1]]).expand(b, m, 3, 3)
    images = torch.rand(b, m, 3, height, width)
    return PosedFrames(images, torch.full((b, m, height, width), 2.0), intrinsics, poses)


def rebuilt_of(weight: Tensor, size: int = 8, views: Tensor | None = None) -> Reconstruction:
    images = torch.rand(*weight.shape, 3, size, size)
    full = weight[..., None, None].expand(*weight.shape, size, size)
    return Reconstruction(images * 0.5, images, Targets(images, full, views=views))


def bev_of(size: int = 16) -> BEV:
    observed = torch.ones(1, size, size, dtype=torch.bool)
    observed[:, : size // 2] = False
    extent = torch.tensor([[-4.0, -4, 4, 4]])
    return BEV(torch.full((1, 3, size, size), 0.2), observed, torch.zeros(1, size, size), extent)


@pytest.mark.parametrize(("b", "m"), [(1, 1), (2, 5), (6, 3), (0, 2)])
def test_views_show_every_view_once(b: int, m: int, said: list[str]) -> None:
    masked = torch.zeros(b, m, dtype=torch.bool)
    masked[:, -1] = b > 1
    picture = views_picture(frames_of(b, m), masked, max_width=600)
    assert picture.width <= 700
    shown = min(b, 4)
    assert sum("hidden" in text for text in said) == (shown if b > 1 else 0)
    assert sum(text.startswith("view") for text in said) == shown * m


def test_hidden_views_are_grey() -> None:
    picture = views_picture(frames_of(1, 1), torch.ones(1, 1, dtype=torch.bool))
    pixels = [c for c, count in colours(picture).items() if count >= 100]
    assert all(max(c) - min(c) <= 8 for c in pixels)
    seen = views_picture(frames_of(1, 1), torch.zeros(1, 1, dtype=torch.bool))
    assert any(max(c) - min(c) > 60 for c, count in colours(seen).items() if count >= 100)


def test_reconstructions_skip_padding_and_name_views(said: list[str]) -> None:
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    rebuilt = rebuilt_of(weight, views=torch.tensor([[1, 4], [3, 0]]))
    picture = reconstruction_picture(rebuilt)
    assert [text for text in said if text.startswith(("scene", "view"))] == [
        *("scene 0", "view 1"),
        *("scene 0", "view 4"),
        *("scene 1", "view 3"),
    ]
    wider = reconstruction_picture(rebuilt, nearest=rebuilt.images)
    assert wider.width > picture.width
    assert wider.height == picture.height
    assert "nearest visible view" in said


def test_every_scene_has_its_turn_among_few_rows(said: list[str]) -> None:
    reconstruction_picture(rebuilt_of(torch.ones(2, 3)), rows=2)
    assert [text for text in said if text.startswith("scene")] == ["scene 0", "scene 1"]


@pytest.mark.parametrize("shape", [(2, 0), (0, 0), (2, 2)])
def test_nothing_hidden_is_said(shape: tuple[int, int], said: list[str]) -> None:
    picture = reconstruction_picture(rebuilt_of(torch.zeros(shape)))
    assert said == ["no hidden views"]
    assert picture.width > 100


def test_the_bev_shows_unobserved_cells_in_a_flat_tone(said: list[str]) -> None:
    bev = bev_of()
    targets = Targets(bev.image[:, None], bev.observed[:, None].float())
    rebuilt = Reconstruction(bev.image[:, None] * 0, bev.image[:, None], targets)
    picture = bev_picture(rebuilt)
    side = 2 * drawing.SIDE
    assert colours(picture)[TONE, TONE, TONE] >= 4 * side * side // 2
    assert "50% observed" in said
    assert "PSNR 14.0 dB" in said


def test_a_bev_without_any_observation_is_shown(said: list[str]) -> None:
    bev_picture(rebuilt_of(torch.zeros(1, 1)))
    assert "0% observed" in said


def test_a_missing_bev_is_said(said: list[str]) -> None:
    bev_picture(rebuilt_of(torch.zeros(2, 0)))
    assert said == ["no bird's-eye view"]


BOXES = torch.tensor(
    [[2.0, 0, 0, 0.5, 0.5, 0.5], [1.2, 1.6, 0, 0.4, 0.4, 0.4], [-2, 0, 0, 1, 1, 1]]
)


def test_visibility_prefers_the_view_that_looks_at_the_box() -> None:
    seen = visibility(frames_of(1, 2), BOXES)
    assert seen.shape == (2, 3)
    assert seen[0, 0] > seen[1, 0]
    assert seen[1, 1] > seen[0, 1]
    assert seen[:, 2].max() == 0
    assert visibility(frames_of(1, 2), BOXES[:0]).shape == (2, 0)


@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        (Query("the box", [0], [0]), "found"),
        (Query("the box", [0, 1], [1, 0]), "found"),
        (("the box", [0], [1]), "missed"),
        (("the box", (), ()), "found"),
        (("a very long phrase that has to be broken", [], [2]), "missed"),
        (("the box", [1], []), "missed"),
    ],
)
def test_grounding_draws_what_is_true_and_what_was_chosen(
    query: Query, verdict: str, said: list[str]
) -> None:
    picture = grounding_picture(frames_of(1, 2), bev_of(), BOXES, [query])
    found = colours(picture)
    _, true, chosen = query
    # The legend alone has a few of each.
    assert (found.get(TRUE, 0) > 300) == bool(len(true))
    assert (found.get(CHOSEN, 0) > 300) == bool(len(chosen))
    assert verdict in said
    assert all(len(line) <= 24 for line in said)


def test_grounding_copes_with_one_view_no_box_and_no_query(said: list[str]) -> None:
    one = frames_of(1, 1)
    grounding_picture(one, bev_of(), BOXES[:0], [("nothing", [], [])], views=3)
    assert "(there is none)" in said
    said.clear()
    grounding_picture(one, bev_of(), BOXES, [])
    assert said == ["no queries"]


def test_a_footprint_is_where_the_box_is() -> None:
    boxes = torch.tensor([[2.0, 1.0, 0.5, 2.0, 2.0, 1.0]])
    picture = grounding_picture(frames_of(1, 1), bev_of(), boxes, [("box", [0], [])], views=0)
    pixels = torch.tensor(list(picture.tobytes())).view(picture.height, picture.width, 3)
    green = (pixels == torch.tensor(TRUE)).all(-1)[40:]
    height, width = (int(x.amax() - x.amin()) for x in green.nonzero().unbind(-1))
    # 2 m of 8 m, on 384 pixels.
    assert (height, width) == (pytest.approx(96, abs=6), pytest.approx(96, abs=6))
