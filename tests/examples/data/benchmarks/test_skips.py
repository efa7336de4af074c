from __future__ import annotations

from reference.data.benchmarks.skips import AnnotationError, Skips


def test_reasons_are_counted_by_file() -> None:
    skips = Skips()
    assert not skips
    for name, number, got in (("a", 1, []), ("a", 2, None), ("b", 3, "x" * 200)):
        skips.add(AnnotationError(f"{name}.json", str(number), "box", "a box", got))
    assert len(skips) == 3
    assert str(skips).splitlines()[0] == (
        "2 annotations left out of a.json: box must be a box; got [] (1 first)"
    )
    assert "xxx... (3)" in str(skips)
    assert skips.as_json()[0] == {
        "file": "a.json",
        "field": "box",
        "count": 2,
        "problem": "box must be a box; got []",
        "id": "1",
    }
