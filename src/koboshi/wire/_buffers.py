"""Pickles whose large buffers lie beside them, in one segment of shared memory.

`pack` leaves out what implements pickle's out-of-band protocol (numpy arrays, PickleBuffer) and
`bytes`, `bytearray` and `memoryview`, when together they are larger than `OUT_OF_BAND_FROM`.
Everything else is the bytes of a plain pickle, and costs what that costs.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Sequence
from typing import Any, cast

from ._errors import BuffersLost, DescriptorsExhausted, FrameTooLarge
from ._segments import Descriptor, map_segment, write_segment

__all__ = ["OUT_OF_BAND_FROM", "OUT_OF_BAND_LIMIT", "BufferedPickle", "attach", "pack", "unpack"]

OUT_OF_BAND_FROM = 64 * 1024
"""Bytes of buffers in one message above which they travel by shared memory."""

OUT_OF_BAND_LIMIT = 64 * 1024**3
"""Bytes of buffers that one message may have in shared memory."""

# A smaller buffer stays in the pickle, whatever else the message holds: it is not worth a cache line.
_BUFFER_FROM = 4096
# A longer list or dict is not searched for large bytes before it is pickled.
_LOOK_AT = 64
_BYTES: frozenset[type] = frozenset({bytes, bytearray})
_CONTAINERS: frozenset[type] = frozenset({tuple, list, dict})


class BufferedPickle:
    """A pickle and its buffers: a segment that can be sent again and again, or views of one that arrived.

    Pickled itself, it leaves the segment out: whoever sends it sends `segment` beside it, and whoever
    receives it gives it to `attach`.
    """

    __slots__ = ("_lost", "_views", "head", "plain", "segment", "sizes")

    def __init__(
        self, head: bytes, sizes: tuple[int, ...], plain: str, segment: Descriptor | None = None
    ) -> None:
        self.head = head
        self.sizes = sizes
        # What the last len(plain) buffers are in the pickle: "b"ytes or byte"a"rrays. The others are its
        # out-of-band buffers, in their order.
        self.plain = plain
        self.segment = segment
        self._views: list[memoryview] | None = None
        self._lost: BaseException | None = None

    def __repr__(self) -> str:
        buffers = f"{len(self.sizes)} buffers of {sum(self.sizes)} bytes"
        return f"<BufferedPickle {len(self.head)} bytes and {buffers}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return BufferedPickle, (self.head, self.sizes, self.plain)

    def __len__(self) -> int:
        """Bytes in all."""
        return len(self.head) + sum(self.sizes)

    def attach(self, segment: Descriptor | None) -> None:
        """Map the segment that came with it and close its descriptor; None when it was lost on the way.

        What goes wrong is raised by `unpack`, where the one message it concerns is looked at.
        """
        if segment is None:
            self._lost = BuffersLost(sum(self.sizes))
            return
        try:
            self._views = map_segment(segment, self.sizes)
        except Exception as error:
            self._lost = error
        finally:
            segment.close()

    def load(self) -> Any:
        """Unpickle; the objects own the memory from here on."""
        if self._lost is not None:
            raise self._lost
        views, self._views = self._views, None
        if views is None:
            if self.segment is None:
                raise BuffersLost(sum(self.sizes))
            views = map_segment(self.segment, self.sizes)
        split = len(views) - len(self.plain)
        return _Unpickler(self.head, views[:split], views[split:], self.plain).load()


def pack(value: object, limit: int, *, what: str, parts: Iterable[Any] = ()) -> bytes | BufferedPickle:
    """Pickle `value`, of which at most `limit` bytes may be in band; `what` names it in errors.

    When the caller knows objects inside that may be large bytes, `parts`, they are not pickled in vain.

    Raises:
        FrameTooLarge: it takes more.
        Exception: what pickling it raised.
    """
    if not _BYTES.isdisjoint(map(type, parts)) and any(map(_has_large_bytes, parts)):
        return _pack_apart(value, limit, what)
    views: list[pickle.PickleBuffer] = []
    try:
        blob = pickle.dumps(value, 5, buffer_callback=views.append)
    except TypeError:
        # A memoryview somewhere inside, perhaps; if not, this says so again.
        return _pack_apart(value, limit, what)
    finally:
        for view in views:
            view.release()
    size = len(blob)
    if not views and size <= limit and (size <= OUT_OF_BAND_FROM or not _has_large_bytes(value)):
        return blob
    return _pack_apart(value, limit, what)


def attach(messages: Iterable[object], descriptors: Sequence[Descriptor | None]) -> None:
    """Give the buffered pickles among `messages` the descriptors that came with them, in order."""
    arrived = iter(descriptors)
    for message in messages:
        if type(message) is BufferedPickle:
            message.attach(next(arrived, None))


def unpack(packed: bytes | bytearray | memoryview | BufferedPickle) -> Any:
    """Load what `pack` made, in this process or in one of the same tree that sent it."""
    if type(packed) is BufferedPickle:
        return packed.load()
    return pickle.loads(packed)  # type: ignore[arg-type]


def _has_large_bytes(value: Any, depth: int = 3) -> bool:
    """Whether a large pickle is worth a second one, because bytes lie near the top of `value`."""
    if type(value) in _BYTES:
        return len(value) >= _BUFFER_FROM
    if depth and type(value) in _CONTAINERS and len(value) <= _LOOK_AT:
        items = cast("Iterable[Any]", value.values() if type(value) is dict else value)
        return any(_has_large_bytes(item, depth - 1) for item in items)
    return False


class _Apart:
    """Buffers that were left out of one pickle.

    `release` is for every path: memoryviews of PickleBuffers of memoryviews that end up in a reference
    cycle, with the traceback of an error say, crash the garbage collector of CPython.
    """

    __slots__ = ("_held", "kinds", "numbers", "plain", "views")

    def __init__(self) -> None:
        self.views: list[memoryview] = []
        self.plain: list[memoryview] = []
        # For each of `plain`: "b"ytes or byte"a"rray.
        self.kinds = ""
        # Their numbers, by identity, so that what is there twice is sent once.
        self.numbers: dict[int, int] = {}
        self._held: list[pickle.PickleBuffer] = []

    def collect(self, buffer: pickle.PickleBuffer) -> bool:
        """Pickle's callback: False for a buffer that is taken out of band."""
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous: pickle says so
        if len(view) < _BUFFER_FROM:
            view.release()
            return True
        self.views.append(view)
        self._held.append(buffer)
        return False

    def number(self, value: bytes | bytearray) -> int:
        """Take a value out, unless it is already."""
        number = self.numbers.setdefault(id(value), len(self.plain))
        if number == len(self.plain):
            # The view keeps it alive, so no other object gets its id.
            self.plain.append(memoryview(value))
            self.kinds += "b" if type(value) is bytes else "a"
        return number

    def release(self) -> None:
        for view in self.views + self.plain:
            view.release()
        for buffer in self._held:
            buffer.release()


def _pack_apart(value: object, limit: int, what: str) -> bytes | BufferedPickle:
    """`pack` with large buffers taken out of the pickle wherever they are, bytes and byte arrays too."""
    apart = _Apart()
    try:
        file = io.BytesIO()
        _Pickler(file, apart).dump(value)
        head = file.getvalue()
        buffers = apart.views + apart.plain
        sizes = tuple(map(len, buffers))
        size = sum(sizes)
        if not buffers:
            return _checked(head, limit, what)
        if size > OUT_OF_BAND_FROM:
            _checked(head, limit, what)
            if size > OUT_OF_BAND_LIMIT:
                raise FrameTooLarge(f"the buffers of {what}", size, OUT_OF_BAND_LIMIT)
            try:
                return BufferedPickle(head, sizes, apart.kinds, write_segment(buffers))
            except DescriptorsExhausted:
                if len(head) + size > limit:
                    raise
    finally:
        apart.release()
    file = io.BytesIO()
    _Pickler(file, None).dump(value)
    return _checked(file.getvalue(), limit, what)


def _checked(blob: bytes, limit: int, what: str) -> bytes:
    if len(blob) > limit:
        raise FrameTooLarge(what, len(blob), limit)
    return blob


class _Pickler(pickle.Pickler):
    """Also takes memoryviews; with `apart`, leaves out large buffers, and bytes, which pickle would copy."""

    def __init__(self, file: io.BytesIO, apart: _Apart | None) -> None:
        self._apart = apart
        super().__init__(file, 5, buffer_callback=None if apart is None else apart.collect)

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) in _BYTES and self._apart is not None and len(obj) >= _BUFFER_FROM:
            return self._apart.number(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not memoryview:
            return NotImplemented
        form = _castable(obj)
        # A copy that can be written to arrives as one that can.
        flat = obj if obj.c_contiguous else bytearray(obj.tobytes())
        return _view, (pickle.PickleBuffer(flat), form, obj.shape, obj.readonly)


def _castable(view: memoryview) -> str:
    """The view's format, if `memoryview.cast` knows it."""
    memoryview(b"").cast(view.format)  # type: ignore[call-overload]
    return view.format


def _view(buffer: Any, form: str, shape: tuple[int, ...], readonly: bool) -> memoryview:
    flat: memoryview = memoryview(buffer).cast("B")
    if form != "B" or len(shape) != 1:
        cast: Any = flat.cast  # the types know the formats, this comes from a view that had it
        flat = cast(form, shape)
    return flat.toreadonly() if readonly else flat


class _Unpickler(pickle.Unpickler):
    def __init__(self, head: bytes, buffers: list[memoryview], plain: list[memoryview], kinds: str) -> None:
        super().__init__(io.BytesIO(head), buffers=buffers)
        self._plain: list[Any] = plain
        self._kinds = kinds

    def persistent_load(self, number: int) -> Any:
        value = self._plain[number]
        if type(value) is memoryview:
            value = self._plain[number] = bytes(value) if self._kinds[number] == "b" else bytearray(value)
        return value
