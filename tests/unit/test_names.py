"""The index of names gives what a dictionary would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.storage.sqlite.names import NameIndex, Names

names_ = st.text("abcXYZ019._:-", min_size=1, max_size=64)


@given(st.lists(st.lists(names_, min_size=1, max_size=40), min_size=1, max_size=8))
def test_it_gives_what_a_dictionary_gives(batches: list[list[str]]) -> None:
    """Batch by batch: known names have their numbers, of the unknown ones each is named once, in order."""
    index = NameIndex()
    numbers: dict[str, int] = {}
    for batch in batches:
        found, new = index.find(Names.of(batch))

        assert [numbers.get(name, 0) for name in batch] == found.tolist()
        unheard = [name for name in dict.fromkeys(batch) if name not in numbers]
        assert unheard == [Names.of(batch).name(row) for row in new.tolist()]
        if unheard:
            fresh = range(len(numbers) + 1, len(numbers) + 1 + len(unheard))
            index.add(Names.of(unheard), np.array(fresh))
            numbers.update(zip(unheard, fresh, strict=True))


def test_it_grows_to_many_names_of_equal_beginning() -> None:
    """Tens of thousands of names that differ in few letters are all told apart, in any order."""
    names = [f"bfadafebb608a154{number:06}" for number in range(50_000)]
    index = NameIndex()
    for start in range(0, len(names), 7_000):
        part = names[start : start + 7_000]
        index.add(Names.of(part), np.arange(start + 1, start + 1 + len(part)))
    order = np.random.default_rng(1).permutation(len(names))
    found, new = index.find(Names.of([names[place] for place in order.tolist()]))

    assert (order + 1).tolist() == found.tolist()
    assert 0 == len(new)


def test_a_name_is_not_its_beginning_or_its_end() -> None:
    """Filling up with zeros to whole words does not make different names equal."""
    names = ["a" * length for length in range(1, 65)]
    index = NameIndex()
    index.add(Names.of(names), np.arange(1, 65))

    assert list(range(1, 65)) == index.find(Names.of(names))[0].tolist()
    assert [0, 0] == index.find(Names.of(["b", "a" * 63 + "b"]))[0].tolist()
