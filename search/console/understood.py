"""What a data set was understood to be, as lines of the dry run.

lines(source.images.understood(), source.split, source.leak)
"""

from collections.abc import Iterator, Mapping, Sized

from trainables.data._understood import LeftOut, Understood

MOST = 20  # classes on one line


def lines(found: Understood, split: Mapping[str, Sized], leak: str) -> Iterator[str]:
    """Yield a line a subject; left out and notes may have several."""
    yield from (f"table     {one}" for one in _tables(found))
    shown = [
        f"{label} {count.images} of {count.patient_groups}"
        for label, count in found.classes.items()
    ]
    more = f", and {len(shown) - MOST} more classes" if len(shown) > MOST else ""
    yield f"classes   images of patient groups: {', '.join(shown[:MOST])}{more}"
    yield f"groups    {_groups(found)}"
    drawn = "given by the data set" if found.given_split else "drawn"
    yield f"split     {', '.join(f'{len(rows)} {part}' for part, rows in split.items())}; {drawn}"
    if found.unlabelled:
        yield f"unlabelled {found.unlabelled} images, which no task sees"
    yield from (f"left out  {_left_out(one)}" for one in found.left_out)
    yield from (f"note      {one}" for one in found.notes)
    if leak:
        yield f"note      {leak}"


def _groups(found: Understood) -> str:
    if found.largest_images == 1:
        return "every image is its own patient group: copies of a patient may cross the split"
    return (
        f"{found.patient_groups} patient groups; the largest, {found.largest_group}, has "
        f"{found.largest_images} images"
    )


def _tables(found: Understood) -> Iterator[str]:
    for one in found.tables:
        used = ", ".join(f"{role}={column}" for role, column in one.columns.items())
        yield f"{one.file}: {one.rows} rows, {one.encoding}, by {one.delimiter}; {used}"


def _left_out(one: LeftOut) -> str:
    if not one.examples:
        return f"{one.count} {one.what}"
    more = ", ..." if one.count > len(one.examples) else ""
    return f"{one.count} {one.what} ({', '.join(one.examples)}{more})"
