"""A cart whose state is what its events make of it, for the tests and for programs that they kill."""

from __future__ import annotations

import msgspec

import koboshi as kb


class CartState(msgspec.Struct, frozen=True):
    items: tuple[str, ...] = ()
    cents: int = 0


class Added(msgspec.Struct, frozen=True):
    item: str
    cents: int


class Cleared(msgspec.Struct, frozen=True):
    pass


class Cart(kb.EventSourced[CartState]):
    @kb.message
    def add(self, item: str, cents: int) -> int:
        self.emit(Added(item, cents))
        if len(self.state.items) > 500:
            raise kb.Refused("the cart is full")
        return self.state.cents

    @kb.message
    def add_all(self, items: list[str]) -> int:
        for item in items:
            self.emit(Added(item, 1))
        return self.revision + len(items)

    @kb.message
    def clear(self) -> None:
        self.emit(Cleared())

    @kb.message
    def boom(self) -> None:
        self.emit(Added("bomb", 0))
        raise ValueError("boom")

    @kb.message
    def refuse(self) -> None:
        self.emit(Added("never", 1_000))
        raise kb.Refused("no")

    @kb.message
    def label(self, name: str, value: str) -> None:
        self.tag(**{name: value})

    @kb.message
    def nothing(self) -> str:
        return "nothing"

    @kb.message
    def assign(self) -> None:
        self.state = CartState()  # type: ignore[misc]

    @kb.query
    def peek(self) -> None:
        self.emit(Cleared())

    @kb.query
    def look(self) -> CartState:
        return self.state

    @kb.event
    @staticmethod
    def added(state: CartState, event: Added) -> CartState:
        return CartState((*state.items, event.item), state.cents + event.cents)

    @kb.event
    @staticmethod
    def cleared(state: CartState, event: Cleared) -> CartState:
        return CartState()
