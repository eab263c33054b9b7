import pytest
from hypothesis import given
from hypothesis import strategies as st

from candle_vllm_openai import ApiError
from candle_vllm_openai.marks import SENTINELS, ControlMarks, Json, Piece

MARKS = ["<|a|>", "<|a|>b", "[X]", "</s>", "\n\n"]
texts = st.lists(st.sampled_from([*MARKS, "<|", "a", "|>", " ", "[", "X", "]", SENTINELS[0], "é"]), max_size=12).map(
    "".join
)


def test_nothing_is_touched_where_there_is_no_mark() -> None:
    data: dict[str, Json] = {"messages": [{"content": "x"}]}
    assert ControlMarks(MARKS).hide(data, "") == (data, None)
    assert ControlMarks([]).hide({"a": "<|a|>"}, "") == ({"a": "<|a|>"}, None)
    assert ControlMarks(MARKS).pieces("a<|a|>", None) == [Piece("a<|a|>", True)]


def test_marks_are_found_at_every_depth_the_longest_first() -> None:
    hidden, sentinel = ControlMarks(MARKS).hide({"k": [{"[X]": ["<|a|>b", 1, None, True]}]}, "")
    assert sentinel == SENTINELS[0]
    assert hidden == {"k": [{f"{sentinel}[X]": [f"{sentinel}<|a|>b", 1, None, True]}]}


def test_the_sentinel_is_one_that_neither_data_nor_template_use() -> None:
    hidden, sentinel = ControlMarks(MARKS).hide({"k": f"[X]{SENTINELS[0]}"}, SENTINELS[1])
    assert sentinel == SENTINELS[2]
    assert hidden == {"k": f"{sentinel}[X]{SENTINELS[0]}"}


def test_data_with_every_sentinel_is_refused() -> None:
    with pytest.raises(ApiError, match="Linear A"):
        ControlMarks(MARKS).hide({"k": "[X]" + "".join(SENTINELS)}, "")
    assert ControlMarks(MARKS).hide({"k": "".join(SENTINELS)}, "")[1] is None


def test_every_sentinel_survives_quoting() -> None:
    assert all(repr(sentinel) == f"'{sentinel}'" and len(sentinel) == 1 for sentinel in SENTINELS)


def test_the_text_around_a_hidden_mark_is_cut_only_at_marks_of_the_template() -> None:
    s = SENTINELS[0]
    prompt = f"[X]</s>one {s}[X] two{s}</s>[X]three{s}"
    assert ControlMarks(MARKS).pieces(prompt, s) == [
        Piece("[X]</s>", True),
        Piece("one [X] two</s>", False),
        Piece("[X]", True),
        Piece("three", False),
    ]


def test_the_template_keeps_its_longest_mark() -> None:
    s = SENTINELS[0]
    assert ControlMarks(MARKS).pieces(f"<|a|>b {s}[X]", s) == [Piece("<|a|>b", True), Piece(" [X]", False)]


@given(st.lists(st.tuples(st.sampled_from([*MARKS, "text ", "\n"]), texts), max_size=5))
def test_pieces_add_up_and_only_the_templates_marks_stay(turns: list[tuple[str, str]]) -> None:
    marks = ControlMarks(MARKS)
    hidden, sentinel = marks.hide({"contents": [content for _, content in turns]}, "".join(own for own, _ in turns))
    contents = hidden["contents"]
    assert isinstance(contents, list)
    prompt = "".join(f"{own}·{content}·" for (own, _), content in zip(turns, contents, strict=True))
    pieces = marks.pieces(prompt, sentinel)
    assert "".join(piece.text for piece in pieces) == "".join(f"{own}·{content}·" for own, content in turns)
    if sentinel is not None:
        written = sum(own in MARKS for own, _ in turns)
        assert sum(len(marks._mark.findall(piece.text)) for piece in pieces if piece.control_marks) == written
