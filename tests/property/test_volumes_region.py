"""Laws of boxes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.grammar.region import aligned, blocks, clip, grow, inside, intersect, shift, size, slices, voxels, whole

spans = st.tuples(st.integers(-9, 9), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))
regions = st.tuples(spans, spans, spans, spans, spans)
shapes = st.tuples(*[st.integers(1, 9)] * 5)
steps = st.tuples(*[st.integers(0, 9)] * 5)
laws = settings(max_examples=100, deadline=None)


@laws
@given(regions, regions)
def test_what_two_boxes_share_lies_in_both_and_does_not_depend_on_order(one, other):
    shared = intersect(one, other)
    assert voxels(shared) == voxels(intersect(other, one)) <= min(voxels(one), voxels(other))
    if voxels(shared):
        assert intersect(shared, one) == intersect(shared, other) == shared


@laws
@given(regions, shapes)
def test_a_clipped_box_counts_the_voxels_that_an_array_has_there(region, shape):
    inner = clip(region, shape)
    wanted = 1
    for (start, stop), length in zip(region, shape, strict=True):
        wanted *= len(set(range(start, stop)) & set(range(length)))
    assert voxels(inner) == wanted
    assert not wanted or inside(inner, shape)


@laws
@given(regions, steps)
def test_growing_and_shifting_are_undone(region, by):
    assert grow(grow(region, by), [-step for step in by]) == region
    assert shift(shift(region, by), [-step for step in by]) == region
    assert size(shift(region, by)) == size(region)
    assert size(grow(region, by)) == tuple(old + 2 * step for old, step in zip(size(region), by, strict=True))


@laws
@given(shapes, st.tuples(*[st.integers(1, 9)] * 5))
def test_blocks_are_aligned_and_slice_what_they_say(shape, unit):
    array = np.zeros(shape)
    for region in blocks(shape, unit):
        assert aligned(region, unit, shape)
        assert array[slices(region)].shape == size(region)
    assert aligned(whole(shape), unit, shape)
