import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from candle_vllm_core.runtime.blocks import BlockPool, block_key, root_key


def test_a_key_stands_for_everything_before_it() -> None:
    first, other = block_key(b"", [1, 2]), block_key(b"", [2, 1])
    assert block_key(first, [3, 4]) == block_key(block_key(b"", [1, 2]), [3, 4])
    assert len({first, other, block_key(first, [3, 4]), block_key(other, [3, 4])}) == 4


def test_models_and_salts_share_no_key() -> None:
    roots = [root_key(model, salt) for model in (b"one", b"other") for salt in (None, "a", "b", "\ud800")]
    assert len({block_key(root, [1, 2]) for root in roots}) == 8
    assert root_key(b"one", "a") == root_key(b"one", "a")


def test_a_table_that_the_pool_knows_nothing_of_is_found() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(2)
    pool.check([blocks])
    for wrong in ([], [blocks, blocks[:1]], [blocks[:1]]):
        with pytest.raises(RuntimeError, match="more or fewer"):
            pool.check(wrong)


def test_a_registered_block_is_found_until_it_is_given_out_again() -> None:
    pool = BlockPool(2)
    [block] = pool.allocate(1)
    pool.register(block, b"key")
    pool.release([block])
    assert pool.find(b"key") == block and pool.num_cached == 1
    assert pool.allocate(1) != [block], "blank blocks are given out first"
    assert pool.allocate(1) == [block]
    assert pool.find(b"key") is None and pool.num_cached == 0


def test_the_least_recently_used_content_goes_first_and_a_prefix_outlives_its_tail() -> None:
    pool = BlockPool(4)
    old, new = pool.allocate(2), pool.allocate(2)
    for block, key in zip(old + new, (b"o1", b"o2", b"n1", b"n2"), strict=True):
        pool.register(block, key)
    pool.release(old)
    pool.release(new)
    assert pool.allocate(4) == [old[1], old[0], new[1], new[0]]


def test_giving_a_block_back_twice_is_found() -> None:
    pool = BlockPool(1)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(RuntimeError, match="twice"):
        pool.release(blocks)


class Blocks(RuleBasedStateMachine):
    """Any order of taking, sharing, registering and giving back keeps the books straight."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(6)
        self.tables: list[list[int]] = []

    @precondition(lambda self: self.pool.num_free)
    @rule(target=held, data=st.data())
    def allocate(self, data: st.DataObject) -> list[int]:
        self.tables.append(self.pool.allocate(data.draw(st.integers(1, self.pool.num_free))))
        return self.tables[-1]

    @rule(blocks=held, key=st.binary(min_size=1, max_size=1))
    def register(self, blocks: list[int], key: bytes) -> None:
        for block in blocks:
            self.pool.register(block, key)

    @rule(target=held, keys=st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=3, unique=True))
    def share(self, keys: list[bytes]) -> list[int]:
        blocks = [block for key in keys if (block := self.pool.find(key)) is not None]
        expected = self.pool.num_free - self.pool.count_free(blocks)
        self.pool.share(blocks)
        assert self.pool.num_free == expected
        self.tables.append(blocks)
        return blocks

    @rule(blocks=consumes(held))
    def release(self, blocks: list[int]) -> None:
        self.pool.release(blocks)
        del self.tables[next(index for index, table in enumerate(self.tables) if table is blocks)]

    @invariant()
    def consistent(self) -> None:
        self.pool.check(self.tables)
        assert self.pool.num_used + self.pool.num_free == 6
        assert sum(self.pool._references) == sum(map(len, self.tables))


TestBlocks = Blocks.TestCase
