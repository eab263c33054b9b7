import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from candle_vllm_core.attention import work

LENGTHS = st.lists(
    st.tuples(st.integers(0, 70), st.integers(0, 40_000)).map(lambda both: (both[0], sum(both))), min_size=1, max_size=5
)


def sequences(lengths: list[tuple[int, int]]) -> work.Sequences:
    new, length = (np.array(side, dtype=np.int64) for side in zip(*lengths, strict=True))
    return work.Sequences(table=np.arange(len(lengths)) * 1000, token=np.cumsum(new) - new, new=new, length=length)


@settings(max_examples=60)
@given(lengths=LENGTHS, queries=st.sampled_from([1, 2, 16, 64]), window=st.none() | st.integers(1, 5000))
def test_every_query_meets_every_key_that_it_sees_once(
    lengths: list[tuple[int, int]], queries: int, window: int | None
) -> None:
    found = work.cut(sequences(lengths), queries, window)
    parts: dict[int, list[tuple[int, int]]] = {}
    for table, token, count, position, start, stop, partial, _ in found.items.tolist():
        new, length = lengths[table // 1000]
        first = sum(n for n, _ in lengths[: table // 1000])
        assert 0 < count <= queries and first <= token and token + count <= first + new
        assert position - (token - first) == length - new
        seen = 0 if window is None else max(0, position - window + 1)
        assert start == seen or start % work.SPLIT == 0
        parts.setdefault(token, []).append((start, stop))
        assert (partial < 0) == ((start, stop) == (seen, position + count))
    assert sum(count for _, _, count, *_ in found.items.tolist() if count) >= len(parts)
    for token, spans in parts.items():
        count, position = next((i[2], i[3]) for i in found.items.tolist() if i[1] == token)
        ends = sorted(spans)
        assert (
            ends[0][0] == (0 if window is None else max(0, position - window + 1)) and ends[-1][1] == position + count
        )
        assert [stop for _, stop in ends[:-1]] == [start for start, _ in ends[1:]], "no gap and nothing twice"


@settings(max_examples=60)
@given(lengths=LENGTHS, queries=st.sampled_from([1, 2, 16, 64]), window=st.none() | st.integers(1, 5000))
def test_a_sequence_is_cut_alike_alone_and_among_others(
    lengths: list[tuple[int, int]], queries: int, window: int | None
) -> None:
    together = work.cut(sequences(lengths), queries, window).items
    for number, own in enumerate(lengths):
        mine = together[together[:, 0] == number * 1000]
        alone = work.cut(sequences([own]), queries, window).items
        assert sorted(mine[:, 2:6].tolist()) == sorted(alone[:, 2:6].tolist())


@settings(max_examples=60)
@given(lengths=LENGTHS, queries=st.sampled_from([1, 2, 16, 64]))
def test_parts_are_merged_where_they_lie(lengths: list[tuple[int, int]], queries: int) -> None:
    found = work.cut(sequences(lengths), queries, None)
    places: dict[tuple[int, int], list[int]] = {}
    for _, token, count, _, _, _, partial, _ in found.items.tolist():
        if partial >= 0:
            places.setdefault((token, count), []).append(partial)
    merged = {(token, count): list(range(first, first + parts)) for token, count, first, parts in found.merges.tolist()}
    assert merged == {tile: sorted(own) for tile, own in places.items()}
    assert sorted(sum(places.values(), [])) == list(range(found.num_partials))


@given(length=st.integers(1, 10**6), window=st.none() | st.integers(1, 10**5))
def test_no_query_has_more_parts_than_room_was_made_for(length: int, window: int | None) -> None:
    items = work.cut(sequences([(1, length)]), 1, window).items
    assert len(items) <= work.most_parts(length, window)
    assert (items[:, 5] - items[:, 4]).min() > 0


def test_the_longest_work_begins_first() -> None:
    items = work.cut(sequences([(40, 40), (40, 900)]), 16, None).items
    keys = (items[:, 5] - items[:, 4]).tolist()
    assert keys == sorted(keys, reverse=True)
