"""Projections of carts: a table, a state, and one that cannot take a certain event."""

from __future__ import annotations

from typing import ClassVar

import msgspec

import koboshi as kb

from .carts import Added, Cleared

UPSERT = (
    "INSERT INTO {cart_totals} (cart, cents, events) VALUES (:cart, :cents, 1)"
    " ON CONFLICT (cart) DO UPDATE SET cents = {cart_totals}.cents + excluded.cents,"
    " events = {cart_totals}.events + 1"
)


class Totals(kb.Projection[None]):
    tables: ClassVar = {
        "cart_totals": "cart VARCHAR(255) PRIMARY KEY, cents BIGINT NOT NULL, events BIGINT NOT NULL"
    }

    @kb.on
    @staticmethod
    def added(tx: kb.Transaction, event: Added) -> None:
        if event.item == "poison":
            raise ValueError("cannot take poison")
        tx.execute(UPSERT, cart=tx.source.key, cents=event.cents)

    @kb.on
    @staticmethod
    def cleared(tx: kb.Transaction, event: Cleared) -> None:
        tx.execute(
            "UPDATE {cart_totals} SET cents = 0, events = events + 1 WHERE cart = :cart", cart=tx.source.key
        )


class Portable(kb.Projection[None]):
    """In SQL that every database takes."""

    tables: ClassVar = {"cart_cents": "cart VARCHAR(255) NOT NULL PRIMARY KEY, cents BIGINT NOT NULL"}

    @kb.on
    @staticmethod
    def added(tx: kb.Transaction, event: Added) -> None:
        cart = tx.source.key
        if tx.execute("SELECT cents FROM {cart_cents} WHERE cart = :cart", cart=cart):
            text = "UPDATE {cart_cents} SET cents = cents + :cents WHERE cart = :cart"
        else:
            text = "INSERT INTO {cart_cents} (cart, cents) VALUES (:cart, :cents)"
        tx.execute(text, cart=cart, cents=event.cents)


class Sold(msgspec.Struct, frozen=True):
    items: int = 0
    cents: int = 0


class Sales(kb.Projection[Sold]):
    @kb.on
    def added(self, event: Added) -> None:
        self.state = Sold(self.state.items + 1, self.state.cents + event.cents)

    @kb.query
    def sold(self) -> Sold:
        return self.state
