"""One slice of a parsed run -> Changes: numbers found or created, blocks, deltas, in one transaction.

Touches: rows of phones (phones_new), blocks, delta, tenants, through a View; reads optouts, consents, suppressions.
Rests on: a run's numbers sorted (import_files.py). A slice takes the next few thousand of them in order,
looks them up, gives the new ones the next member numbers, and writes their phone rows and whole columns;
the others go to import_update.py. What it replaced goes to `import_undo` in the same transaction. So a slice
is whole by itself: nothing is reserved ahead, a command between two slices sees every member complete or not
at all, and after a kill the position in the import's row says where to go on.
Where its phone rows would touch too many pages of the table they go to the small one (store/phones.py).
Measured: new numbers in sorted order cost 0.1 us a phone row (append) to 0.3 us (between others).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dispatcher.members.aliases import alias_numbers
from dispatcher.members.consent import OPERATOR, suppressed_numbers
from dispatcher.members.import_run import Run, RunColumn
from dispatcher.members.import_undo import Recorder
from dispatcher.members.import_update import FOLD_FROM, Fresh, Updates
from dispatcher.records.changes import Changes, View
from dispatcher.store import gather, phones
from dispatcher.store.blocks import (
    FLAGS,
    WIDTH,
    Column,
    ColumnKind,
    default_array,
    fit,
    slots_of,
    stored_array,
    text_views,
    write_block,
)
from dispatcher.store.compare import Compared, seals_between, set_of
from dispatcher.store.layout import (
    BLOCK,
    FIELD_MSISDN,
    FIELD_POINTS,
    FIELD_POINTS_OPENING,
    OPTOUT_KEY,
    PLANE_LIVE,
    PLANE_OPTOUT_SERVICE,
    PLANE_SUPPRESSED,
    TENANT,
    TENANT_U64,
)
from dispatcher.store.snapshot import Snapshot

WINDOW = 2 * BLOCK  # numbers looked up for one slice at most
LEAST_WINDOW = 1_024
UPDATES = 8_192  # of one slice: some 25 ms, which a claim may have to wait
COMMIT_OCTETS = 4 << 20  # dirty at most (DESIGN 2)
SLICE_OCTETS = 3 << 20  # of values; the rest is for B-tree pages
SPARE_OCTETS = 1 << 18  # B-tree pages of other tables than that of numbers
_PHONE_OCTETS = 24  # a phone row with its page's share
_UNSEEN = 0xFFFFFFFF  # a dry run: the member that an earlier slice would have made; no member has this number
MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
POINTS: Column = (FIELD_POINTS, 0, ColumnKind.I64)
OPENING: Column = (FIELD_POINTS_OPENING, 0, ColumnKind.I64)


@dataclass(frozen=True, slots=True)
class Mode:
    """What a row may do."""

    creates: bool = True
    updates: bool = True
    replaces_tags: bool = False  # a row's tags are all that its member has; else they join the others


MODES = {
    "upsert": Mode(),
    "insert": Mode(updates=False),
    "update": Mode(creates=False),
    "replace_tags": Mode(replaces_tags=True),
}


@dataclass(slots=True)
class Slice:
    """What one slice did, and which rows the mode refused."""

    end: int  # position in the run's sorted numbers
    created: int = 0
    updated: int = 0
    points_ignored: int = 0
    repeated: int = 0  # rows whose number the file had before
    unreachable: int = 0  # new members who said stop before they were members, or are suppressed
    unchanged: int = 0  # members who had every value already
    changed: Counter[int] = field(default_factory=Counter)  # field -> members, there before, whose value is another
    lost: Counter[int] = field(default_factory=Counter)  # field -> those who lose a tag, or whose yes becomes a no
    refused: list[int] = field(default_factory=list)  # rows
    next_no: int = 0
    changes: Changes = field(default_factory=Changes)


class Slicer:
    """The slices of one run. `first_no`: members from there on are of this import; `earlier`: the sorted numbers of
    the runs before; `source`: what provenance says of a value."""

    def __init__(
        self, tenant: int, run: Run, columns: list[RunColumn], mode: Mode, *,
        import_id: int, first_no: int, earlier: Sequence[memoryview] = (), source: str = "", at_ms: int = 0,
        sole: phones.Sole | None = None,
    ) -> None:  # fmt: skip
        self.tenant, self.run, self.columns, self.mode = tenant, run, columns, mode
        self.import_id, self._earlier = import_id, earlier
        self._sole = sole or phones.Sole(tenant)
        own = [column for column in columns if column.field.kind != "points"]
        self._sealed = [MSISDN, POINTS, OPENING, *(c for column in own for c in column.field.columns)]
        octets = 8 + 1 + _PHONE_OCTETS + sum(c.octets_a_row for c in columns) + 5 + len(self._sealed)
        octets += 8  # points, or their opening balance
        self._blocks_a_slice = max(1, int(SLICE_OCTETS / (octets * BLOCK)))
        self._updates = Updates(
            tenant, run, own, first_no=first_no, adds_tags=not mode.replaces_tags, source=source, at_ms=at_ms
        )
        self._phone_room = max(1 << 19, COMMIT_OCTETS - SPARE_OCTETS - int(octets * BLOCK * self._blocks_a_slice))
        # at worst every FOLD_FROM of them rewrite a block
        self._updates_a_slice = max(1_024, min(UPDATES, int(SLICE_OCTETS * FOLD_FROM / (octets * BLOCK))))
        self._table = phones.LARGE
        self._made_of = 1, 1, 0  # rows, new, changed of the last slice
        self._new_rows, self._new_numbers = array("I", bytes(4 * WINDOW)), array("Q", bytes(8 * WINDOW))
        self._changed_rows, self._changed_nos = array("I", bytes(4 * WINDOW)), array("I", bytes(4 * WINDOW))
        self._refused = array("I", bytes(4 * WINDOW))

    def write(self, view: View, at: int, next_no: int, number: int) -> Slice:
        """The slice from position `at`, to be committed in the transaction of `view`; `number` counts up."""
        most_new = self._blocks_a_slice * BLOCK - next_no % BLOCK
        done, new, changed = self._assign(view, at, next_no, most_new, self._updates_a_slice)
        recorder = Recorder(self.import_id, number)
        fresh: dict[int, Fresh] = {}
        if new:
            self._write_phones(view, done.changes, next_no, new)
            self._write_blocks(view, done, next_no, new, fresh, recorder)
            self._updates.note_new(view, done.changes, recorder, self._new_rows[:new], next_no)
        if changed:
            pairs = self._changed_rows, self._changed_nos, changed
            self._count(done, self._updates.write(view, done.changes, pairs, next_no, new, fresh, recorder))
        recorder.put(done.changes)
        return done

    def count(self, view: View, at: int, next_no: int) -> Slice:
        """What write() would do, nothing written."""
        done, new, changed = self._assign(view, at, next_no, WINDOW, WINDOW, dry=True)
        if new:
            planes = self._consent_planes(view, memoryview(self._new_numbers)[:new])
            done.unreachable = _unreachable(planes)
        self._count(done, self._updates.count(view, (self._changed_rows, self._changed_nos, changed), next_no))
        return done

    def _count(self, done: Slice, compared: Iterator[Compared]) -> None:
        for found in compared:
            done.changed.update(found.changed)
            done.lost.update(found.lost)
            done.unchanged += found.same

    def _assign(
        self, view: View, at: int, next_no: int, most_new: int, most_updates: int, *, dry: bool = False
    ) -> tuple[Slice, int, int]:
        assert isinstance(view, Snapshot)
        run, until = self.run, min(self.run.rows, at + self._rows_for(most_new, most_updates))
        marks = bytearray(until - at)
        for numbers in self._earlier:
            gather.seen(run.ordered, at, until, numbers, marks)
        found = self._look_up(view, at, until, marks)
        if dry and self.mode.creates:  # what an earlier slice would have created
            if at and run.ordered[at] == run.ordered[at - 1] and found[0] < 0:
                found[0] = _UNSEEN
            for group, (mark, member_no) in enumerate(zip(marks, found, strict=False)):
                if mark and member_no < 0:
                    found[group] = _UNSEEN
        while True:
            end, new, changed, refused = gather.assign(
                run.ordered, run.order, at, until, found, next_no, most_new, most_updates, self.mode.creates,
                self.mode.updates, self._new_rows, self._new_numbers, self._changed_rows, self._changed_nos,
                self._refused,
            )  # fmt: skip
            if dry or not new:
                break
            self._table, fitting = phones.place_for(view, self.tenant, self._new_numbers, new, self._phone_room)
            if fitting == new:
                break
            most_new = fitting
        self._made_of = max(1, end - at), new, changed
        done = Slice(end=end, created=new, updated=changed, next_no=next_no + new)
        done.refused = list(self._refused[:refused])
        done.repeated = gather.repeats(run.ordered, at, end, marks)
        if mask := run.points_mask:
            done.points_ignored = gather.count_given(self._changed_rows, changed, run.given, mask)
        return done, new, changed

    def _rows_for(self, most_new: int, most_updates: int) -> int:
        """How many rows to look at for a slice, if they are as those of the last: updates fill one sooner."""
        rows, new, changed = self._made_of
        fill = min(most_new * rows / max(new, 1), most_updates * rows / max(changed, 1))
        return min(WINDOW, max(LEAST_WINDOW, int(fill * 9 / 8)))

    def _look_up(self, view: Snapshot, at: int, until: int, marks: bytearray) -> array[int]:
        """Who has the distinct numbers of the window; `marks`: those that runs before this one had."""
        ordered, here = self.run.ordered, None
        if self._sole.owns(view):
            here = bytearray(marks)
            if at and ordered[at] == ordered[at - 1]:  # the slice before ended within a number
                here[0] = 1
        found = phones.find_many(view, self.tenant, ordered, at, until, here)
        if next(view.range("merges", TENANT.pack(self.tenant)), None) is not None:
            keys = gather.phone_keys(self.tenant, self.run.ordered, at, until)
            missing = {TENANT_U64.unpack(key)[1]: i for i, key in enumerate(keys) if found[i] < 0}
            for number, member_no in alias_numbers(view, self.tenant, missing).items():
                found[missing[number]] = member_no
        return found

    # -- new members ---------------------------------------------------------------------------------

    def _write_phones(self, view: View, changes: Changes, next_no: int, new: int) -> None:
        assert isinstance(view, Snapshot)
        items = gather.PhoneItems(self.tenant, self._new_numbers, new, next_no, self._sole)
        phones.put_new(view, changes, self._table, items)

    def _write_blocks(
        self, view: View, done: Slice, next_no: int, new: int, fresh: dict[int, Fresh], recorder: Recorder
    ) -> None:
        """Whole columns with the new members in them; `fresh` gets the arrays."""
        numbers = memoryview(self._new_numbers)[:new]
        planes = list(self._consent_planes(view, numbers))
        done.unreachable = _unreachable(planes)
        at = 0
        while at < new:
            block, slot = divmod(next_no + at, BLOCK)
            count, slots = min(BLOCK - slot, new - at), slots_of(next_no + new, block)
            written = _Written(self.tenant, block, slots, done.changes)
            msisdns = self._fitted(view, block, MSISDN, slots)
            msisdns[8 * slot : 8 * (slot + count)] = numbers[at : at + count].cast("B")
            written.put(MSISDN, msisdns)
            flags = self._fitted(view, block, FLAGS, slots)
            gather.set_bits(flags, PLANE_LIVE, slot, count)
            for index, plane in planes:
                if at <= index < at + count:
                    gather.set_bits(flags, plane, slot + index - at, 1)
            written.put(FLAGS, flags)
            for column in self.columns:
                self._write_column(view, written, column, slot, at, count)
            if not self.run.points_mask:  # every new member has a balance
                points = self._fitted(view, block, POINTS, slots)
                points[8 * slot : 8 * (slot + count)] = bytes(8 * count)
                written.put(POINTS, points)
            fresh[block] = written.arrays
            arrays = [written.arrays.get(column[:2]) for column in self._sealed]
            seals = seals_between(set_of(self._sealed, arrays), slot, count)
            recorder.add_created(block, slot, count, self._sealed, seals)
            at += count

    def _write_column(self, view: View, written: _Written, column: RunColumn, slot: int, at: int, count: int) -> None:
        number, kind, rows = column.field.number, column.kind, self._new_rows
        block, slots = written.block, written.slots
        if kind == ColumnKind.TEXT:
            stored = stored_array(view, self.tenant, block, (number, 0, kind))
            have, old = stored or (0, memoryview(b""))
            ends = column.data.cast("I")
            written.put((number, 0, kind), gather.text(ends, column.heap, rows, at, count, old, have, slot, slots))
        elif kind == ColumnKind.PLANES:
            for part_column in column.field.columns:
                tags = self._fitted(view, block, part_column, slots)
                codes, part = column.heap.cast("H"), part_column[1]
                gather.planes(column.data.cast("I"), codes, rows, at, count, part, tags, slot, column.codes)
                if tags != bytes(slots):
                    written.put(part_column, tags)
        else:
            width = WIDTH[kind]
            targets = (FIELD_POINTS, FIELD_POINTS_OPENING) if number == FIELD_POINTS else (number,)
            for target in targets:
                values = self._fitted(view, block, (target, 0, kind), slots)
                gather.fixed(column.data, width, rows, at, count, values, slot)
                if column.codes:
                    gather.recode(values, width, slot, count, column.codes)
                written.put((target, 0, kind), values)

    def _fitted(self, view: View, block: int, column: Column, slots: int) -> bytearray:
        """A copy of the stored array at `slots` slots; unknown throughout when there is none."""
        stored = stored_array(view, self.tenant, block, column)
        if stored is None:
            return bytearray(default_array(column[2], slots))
        have, values = stored
        return bytearray(values if have == slots else fit(column[2], values, have, slots))

    def _consent_planes(self, view: View, numbers: memoryview) -> Iterator[tuple[int, int]]:
        """(index in numbers, plane) for new members who said stop or yes before, or are suppressed."""

        def walk(table: str, owner: int) -> Iterator[tuple[bytes, int]]:
            """Rows of `table` about a number of `numbers`, with its index."""
            prefix, first = TENANT.pack(owner), TENANT_U64.pack(owner, numbers[0] - 1)
            for key, _ in view.range(table, prefix, after=first):
                number = TENANT_U64.unpack_from(key)[1]
                if number > numbers[-1]:
                    return
                index = bisect_left(numbers, number)
                if numbers[index] == number:
                    yield key, index

        for key, index in walk("optouts", self.tenant):
            yield index, OPTOUT_KEY.unpack(key)[2]  # a group's number is its plane
        for key, index in walk("consents", self.tenant):
            yield index, OPTOUT_KEY.unpack(key)[2]
        for owner in (self.tenant, OPERATOR):
            for _, index in walk("suppressions", owner):
                yield index, PLANE_SUPPRESSED
        for number in suppressed_numbers(view, self.tenant, numbers):
            yield bisect_left(numbers, number), PLANE_SUPPRESSED


def _unreachable(planes: Iterable[tuple[int, int]]) -> int:
    """Members with a plane that keeps messages from them; those above say that somebody said yes."""
    return len({index for index, plane in planes if plane <= PLANE_OPTOUT_SERVICE})


class _Written:
    """The columns of one block that a slice writes."""

    def __init__(self, tenant: int, block: int, slots: int, changes: Changes) -> None:
        self.block, self.slots = block, slots
        self.arrays: Fresh = {}
        self._tenant, self._changes = tenant, changes

    def put(self, column: Column, values: bytes | bytearray) -> None:
        write_block(self._changes, self._tenant, column[0], column[1], self.block, column[2], self.slots, values)
        if column[2] == ColumnKind.TEXT:
            self.arrays[column[:2]] = self.slots, text_views((self.slots, memoryview(values)), self.slots)
        else:
            self.arrays[column[:2]] = self.slots, memoryview(values)
