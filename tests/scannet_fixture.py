"""Raw ScanNet scans and released annotations, written from generated rooms: true of them.

Each scan has a recording (``.sens`` version 4, JPEG and zlib), a mesh, segments, objects, alignment
and proposals, as ScanNet and Mask3D have them, in a frame that is turned and moved against the
room's. ``RawRoom`` knows what a reader should find.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from reference.data.furniture import NOUNS, Primitive
from reference.data.rooms import Room, generate_room, room_scene
from reference.data.scene import Turn
from reference.data.text import object_turns

from ross3d import PosedFrames

HEIGHT, WIDTH = 36, 48
SPLITS = {"scene0000_00": "train", "scene0001_00": "train", "scene0002_00": "val"}
GAP = 1
"""An object id that no object has."""
NYU40 = {"chair": 5, "table": 7, "sofa": 6, "bed": 4, "desk": 14, "bookshelf": 10, "cabinet": 3}
VOXEL = 0.05
MISSED, LATE = 0, 52
"""The row of the object that no proposal shows early enough, and the row that shows it late."""


@dataclass(frozen=True)
class RawRoom:
    """A generated room as a raw scan.

    Attributes:
        scene: the scan's name.
        seed: of the room.
        views: recorded frames.
        lost: numbers of the frames whose pose is infinite.
    """

    scene: str
    seed: int
    views: int = 6
    lost: tuple[int, ...] = (2,)

    @cached_property
    def room(self) -> Room:
        return generate_room(self.seed)

    @property
    def frames(self) -> PosedFrames:
        """The recorded views in the aligned world."""
        return _frames(self.seed, self.views)

    @property
    def ids(self) -> tuple[int, ...]:
        """Object id of each of the room's objects, then of its floor."""
        count = len(self.room.objects) + 1
        return tuple(i if i < GAP else i + 1 for i in range(count))

    @cached_property
    def align(self) -> np.ndarray:
        """(4, 4) from the recorded frame to the aligned world."""
        angle = 0.3 + self.seed
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turn[:3, 3] = 1.5, -0.5, 0.25
        return turn

    @cached_property
    def poses(self) -> np.ndarray:
        """(views, 4, 4) as recorded: before alignment."""
        return np.linalg.inv(self.align) @ self.frames.poses[0].double().numpy()

    @cached_property
    def boxes(self) -> dict[int, np.ndarray]:
        """The box of each object by its id, in the aligned world."""
        boxes = [np.array(item.box) for item in self.room.objects]
        width, depth, _ = self.room.size
        boxes.append(np.array([0, 0, 0.01, width, depth, 0.02]))
        return dict(zip(self.ids, boxes, strict=True))

    @cached_property
    def vertices(self) -> list[np.ndarray]:
        """Points of each object, then of the floor, then of nothing, in the aligned world."""
        owned: list[list[np.ndarray]] = [[] for _ in self.room.objects]
        for part in self.room.primitives:
            owned[part.owner].append(_surface(part))
        x, y, _ = self.room.size
        corners = np.array(
            [[a * x / 2, b * y / 2, c] for a in (-1, 1) for b in (-1, 1) for c in (0, 0.02)]
        )
        nothing = np.array([[0.0, 0.0, 2.5], [1.0, 1.0, 2.5]])
        return [*(np.concatenate(points) for points in owned), corners, nothing]

    def turns(self, *kinds: str, seeds: int = 3) -> list[Turn]:
        """Some different turns about the room."""
        made = [
            turn
            for seed in range(seeds)
            for turn in object_turns(self.room.objects, seed=seed, count=6, kinds=kinds)
        ]
        return list(dict.fromkeys(made))


@cache
def _frames(seed: int, views: int) -> PosedFrames:
    return room_scene(seed, views=views, size=WIDTH, turns=0).frames.crop(6, 0, HEIGHT, WIDTH)


def raw_rooms(scenes: Sequence[str] = tuple(SPLITS), **options: object) -> dict[str, RawRoom]:
    """The rooms of some scans, by name."""
    return {scene: RawRoom(scene, 3 + int(scene[5:9]), **options) for scene in scenes}


def write_raw_scans(raw: Path, rooms: Mapping[str, RawRoom] | None = None) -> dict[str, RawRoom]:
    """Write scans, proposals and lists of splits as ScanNet has them; what is true of them."""
    rooms = raw_rooms() if rooms is None else dict(rooms)
    for room in rooms.values():
        folder = raw / "scans" / room.scene
        folder.mkdir(parents=True)
        (folder / f"{room.scene}.sens").write_bytes(sens_bytes(room))
        write_annotated_mesh(folder, room)
        write_masks(raw / "mask" / f"{room.scene}.mask.npz", room)
    for split in ("train", "val", "test"):
        own = [scene for scene in rooms if SPLITS.get(scene) == split]
        (raw / f"scannetv2_{split}.txt").write_text("".join(f"{scene}\n" for scene in own))
    return rooms


def sens_bytes(room: RawRoom) -> bytes:
    """The recording of a room."""
    frames = room.frames
    depth_k, colour_k = np.eye(4), np.eye(4)
    depth_k[:3, :3] = frames.intrinsics[0, 0].double().numpy()
    colour_k[:3, :3] = depth_k[:3, :3] * np.array([[2.0], [2.0], [1.0]])
    colour_k[:2, 2] += 0.5
    matrices = np.stack([colour_k, np.eye(4), depth_k, np.eye(4)]).astype("<f4").tobytes()
    content = struct.pack("<IQ", 4, 13) + b"StructureSens" + matrices
    sizes = (2, 1, 2 * WIDTH, 2 * HEIGHT, WIDTH, HEIGHT, 1000.0, room.views)
    content += struct.pack("<ii4IfQ", *sizes)
    for number in range(room.views):
        pose = room.poses[number] if number not in room.lost else np.full((4, 4), -np.inf)
        colour, depth = jpeg(room, number), zlib.compress(depth_steps(room, number).tobytes())
        content += struct.pack("<16f4Q", *pose.flatten(), number, number, len(colour), len(depth))
        content += colour + depth
    return content + struct.pack("<Q", 0)


def jpeg(room: RawRoom, number: int) -> bytes:
    """The colour picture of a frame, of twice the depth's size."""
    pixels = room.frames.images[0, number].mul(255).round().byte().movedim(0, -1).numpy()
    file = BytesIO()
    Image.fromarray(pixels).resize((2 * WIDTH, 2 * HEIGHT)).save(file, "JPEG", quality=95)
    return file.getvalue()


def depth_steps(room: RawRoom, number: int) -> np.ndarray:
    """The depth map of a frame, millimetres."""
    return (room.frames.depths[0, number].double() * 1000).round().numpy().astype("<u2")


def write_exported(folder: Path, room: RawRoom) -> None:
    """Write the recording as ScanNet's exporter does."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    square = np.eye(4)
    square[:3, :3] = room.frames.intrinsics[0, 0].double().numpy()
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", square)
    for i in range(room.views):
        (folder / "color" / f"{i}.jpg").write_bytes(jpeg(room, i))
        Image.fromarray(depth_steps(room, i)).save(folder / "depth" / f"{i}.png")
        pose = room.poses[i] if i not in room.lost else np.full((4, 4), -np.inf)
        np.savetxt(folder / "pose" / f"{i}.txt", pose)


def write_annotated_mesh(folder: Path, room: RawRoom) -> None:
    """Write alignment, mesh, segments and objects."""
    line = " ".join(f"{x:.6f}" for x in room.align.flatten())
    (folder / f"{room.scene}.txt").write_text(f"axisAlignment = {line} \nsceneType = Room\n")
    back = np.linalg.inv(room.align)
    points = np.concatenate(room.vertices) @ back[:3, :3].T + back[:3, 3]
    (folder / f"{room.scene}_vh_clean_2.ply").write_bytes(ply_bytes(points))
    segments, groups = [], []
    for row, own in enumerate(room.vertices):
        # Two segments an object, as over-segmentation has them.
        segments += [10 * row + 3 + i % 2 for i in range(len(own))]
        if row < len(room.ids):
            objects = room.room.objects
            label = objects[row].name if row < len(objects) else "floor"
            group = {"id": room.ids[row], "objectId": room.ids[row], "label": label}
            groups.append({**group, "segments": [10 * row + 3, 10 * row + 4]})
    name = f"{room.scene}_vh_clean_2.0.010000.segs.json"
    content = {"sceneId": room.scene, "segIndices": segments}
    (folder / name).write_text(json.dumps(content))
    content = {"sceneId": f"scannet.{room.scene}", "segGroups": groups[::-1]}
    (folder / f"{room.scene}.aggregation.json").write_text(json.dumps(content))


def ply_bytes(points: np.ndarray, form: str = "binary_little_endian") -> bytes:
    """A mesh with colours and a triangle, as ScanNet's are."""
    order = ">" if form == "binary_big_endian" else "<"
    head = f"ply\nformat {form} 1.0\ncomment MLIB generated\nelement vertex {len(points)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue", "alpha"))
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        rows = [" ".join(f"{x:.9g}" for x in p) + " 9 8 7 255" for p in points.astype("f4")]
        return (head + "\n".join([*rows, "3 0 1 2"]) + "\n").encode()
    layout = np.dtype([("xyz", f"{order}f4", 3), ("rgba", "u1", 4)])
    rows = np.zeros(len(points), dtype=layout)
    rows["xyz"] = points
    return head.encode() + rows.tobytes() + struct.pack(f"{order}B3i", 3, 0, 1, 2)


def mask_rows(room: RawRoom) -> np.ndarray:
    """(60, n) masks: of all objects but one, an empty one, and the missing one too late."""
    lengths = [len(own) for own in room.vertices]
    starts = np.cumsum([0, *lengths])
    masks = np.zeros((60, sum(lengths)), dtype=bool)
    rows = [row for row in range(len(room.ids)) if row != MISSED]
    for place, row in enumerate(rows):
        masks[place + (place > 0), starts[row] : starts[row + 1]] = True  # row 1 stays empty
    masks[LATE, starts[MISSED] : starts[MISSED + 1]] = True
    return masks


def write_masks(path: Path, room: RawRoom) -> None:
    """Write masks as SciPy's ``save_npz`` does."""
    masks = mask_rows(room)
    path.parent.mkdir(exist_ok=True)
    pointers = np.concatenate([[0], masks.sum(1).cumsum()]).astype(np.int32)
    np.savez_compressed(
        path,
        indices=masks.nonzero()[1].astype(np.int32),
        indptr=pointers,
        format=np.array(b"csr"),
        shape=np.array(masks.shape),
        data=np.ones(masks.sum(), dtype=bool),
    )


def write_releases(folder: Path, rooms: Mapping[str, RawRoom]) -> dict[str, dict[str, int]]:
    """Write the five benchmarks as they are released; the number of entries by split and file."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = "id\traw_category\tcategory\tcount\tnyu40id\teigen13id\tnyuClass\tnyu40class\n"
    lines = [
        f"{i}\t{noun}\t{noun}\t9\t{NYU40.get(noun, 40)}\t1\tx\ty\n" for i, noun in enumerate(NOUNS)
    ]
    (folder / "scannetv2-labels.combined.tsv").write_text(columns + "".join(lines))
    counts = {}
    for split in ("train", "val"):
        own = [room for room in rooms.values() if SPLITS.get(room.scene) == split]
        makers = {
            "ScanRefer_filtered_{}.json": scanrefer_rows,
            "multi3drefer_{}.json": multi3drefer_rows,
            "ScanQA_v1.0_{}.json": scanqa_rows,
        }
        files: dict[str, object] = {
            name: [row for room in own for row in make(room)] for name, make in makers.items()
        }
        counts[split] = {name: len(rows) for name, rows in files.items()}
        asked = [row for room in own for row in sqa3d_rows(room)]
        for kind, field, which in (
            ("questions", "questions", 0),
            ("sqa_annotations", "annotations", 1),
        ):
            name = f"v1_balanced_{kind}_{{}}_scannetv2.json"
            files[name] = {"info": {}, field: [row[which] for row in asked]}
        counts[split]["sqa3d"] = len(asked)
        for name, content in files.items():
            (folder / name.format(split)).write_text(json.dumps(content))
    return counts


def scanrefer_rows(room: RawRoom) -> list[dict[str, object]]:
    """A description of each object that words can single out."""
    rows, seen = [], dict[int, int]()
    for turn in room.turns("grounding"):
        row = turn.objects[0]
        annotation = seen[row] = seen.get(row, -1) + 1
        said = turn.question.removeprefix("find ")
        rows.append(
            {
                "scene_id": room.scene,
                "object_id": str(room.ids[row]),
                "object_name": room.room.objects[row].name.replace(" ", "_"),
                "ann_id": str(annotation),
                "description": f"this is {said}",
                "token": ["this", "is", *said.split()],
            }
        )
    return rows


def multi3drefer_rows(room: RawRoom) -> list[dict[str, object]]:
    """Descriptions of none, one or several objects."""
    rows = []
    for number, turn in enumerate(room.turns("multi_grounding")):
        kind = ("zt_w_d", "st_wo_d", "mt")[min(len(turn.objects), 2)]
        rows.append(
            {
                "scene_id": room.scene,
                "object_ids": [room.ids[row] for row in turn.objects],
                "object_name": "object",
                "ann_id": number,
                "description": turn.question.removeprefix("find "),
                "eval_type": kind,
                "spatial": False,
            }
        )
    return rows


def scanqa_rows(room: RawRoom) -> list[dict[str, object]]:
    """Questions with two right answers."""
    return [
        {
            "scene_id": room.scene,
            "question_id": f"{SPLITS.get(room.scene, 'val')}-{room.scene[:9]}-{number}",
            "question": turn.question,
            "answers": [turn.answer, f"it is {turn.answer}"],
            "object_ids": [],
            "object_names": [],
        }
        for number, turn in enumerate(room.turns("qa"))
    ]


def sqa3d_rows(room: RawRoom) -> list[tuple[dict[str, object], dict[str, object]]]:
    """Pairs of question and annotation; the situation can be put in another way."""
    rows = []
    for number, turn in enumerate(room.turns("sqa")):
        situation, _, question = turn.question.partition(". ")
        key = {"scene_id": room.scene, "question_id": 220600000000 + 1000 * room.seed + number}
        asked = {"situation": f"{situation}.", "question": question}
        asked["alternative_situation"] = [situation.replace("i am standing", "i stand") + "."]
        answers = [{"answer": turn.answer, "answer_confidence": "yes", "answer_id": 1}]
        rows.append((key | asked, key | {"answers": answers, "answer_type": "other"}))
    return rows


def _surface(part: Primitive) -> np.ndarray:
    """Points of a solid, those where it meets its box among them."""
    centre, size = np.array(part.box[:3]), np.array(part.box[3:])
    faces = [sign * size / 2 * axis for axis in np.eye(3) for sign in (-1, 1)]
    return centre + np.array([*faces, *(0.5 * face for face in faces)])
