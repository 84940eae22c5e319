"""A registration: a code that was mailed confirms it, before it expires; the mail is sent again now and then.

Run it with:  .venv/bin/python examples/registration.py
"""

from __future__ import annotations

from enum import Enum

import koboshi as kb
from koboshi import otp

RESEND_AFTER, EXPIRES_AFTER, MOST_TRIES = 0.05, 0.4, 3  # seconds, seconds, codes


class Registration(otp.StateMachine):
    """Waits for the code; sends it again now and then."""

    class State(Enum):
        NEW = 1
        WAITING = 2
        CONFIRMED = 3
        REFUSED = 4
        EXPIRED = 5

    initial = State.NEW
    final = (State.CONFIRMED, State.REFUSED, State.EXPIRED)

    def __init__(self, code: str) -> None:
        self.code = code
        self.mails = self.tries = 0

    @otp.event
    def begin(self) -> None:
        self.unexpected()

    @otp.event
    def confirm(self, code: str) -> bool:
        return self.unexpected()

    @otp.event
    def outcome(self) -> str:
        self.postpone()  # whoever asks too early waits
        return ""

    @otp.when(final, outcome)
    def tell(self) -> str:
        return f"{self.state.name.lower()} after {self.mails} mails and {self.tries} tries"

    @otp.when(State.NEW, begin, to=State.WAITING)
    def first_mail(self) -> None:
        self.set_timeout("expiry", EXPIRES_AFTER)
        self.send()

    def send(self) -> None:
        self.mails += 1
        self.set_timeout("resend", RESEND_AFTER * 2**self.mails)

    @otp.when(State.WAITING, otp.timeout("resend"))
    def mail_again(self, payload: object) -> None:
        self.send()

    @otp.when(State.WAITING, otp.timeout("expiry"), to=State.EXPIRED)
    def expire(self, payload: object) -> None: ...

    @otp.when(final, otp.ENTER)
    def clean_up(self, old: Enum) -> None:
        self.cancel_timeout("resend")
        self.cancel_timeout("expiry")

    @otp.when(State.WAITING, confirm, to=(State.CONFIRMED, State.REFUSED))
    def check(self, code: str) -> bool:
        self.tries += 1
        if code == self.code:
            self.go(self.State.CONFIRMED)
        elif self.tries == MOST_TRIES:
            self.go(self.State.REFUSED)
        return code == self.code


async def main() -> None:
    who = ("ada", "bob", "eve")
    children = [kb.child(Registration, "1234").options(id=name) for name in who]
    async with kb.Supervisor(*children) as tree:
        ada, bob, eve = (tree.ref(Registration, name) for name in who)
        for each in (ada, bob, eve):
            await each.call(Registration.begin)
        print([await ada.call(Registration.confirm, code) for code in ("0000", "1234")])
        print([await eve.call(Registration.confirm, code) for code in ("1", "2", "3")])
        try:
            await eve.call(Registration.confirm, "1234")
        except otp.UnexpectedEvent as late:
            print(late)
        for name in who:
            print(name, await tree.ref(Registration, name).call(Registration.outcome))


if __name__ == "__main__":
    kb.run(main, log_level=None)
