"""The dollar limit: the worst case of a call is reserved before it starts, so the limit is never passed."""

from __future__ import annotations

import asyncio
import math


class Budget:
    """Dollars spent and reserved.

    Attributes:
        limit: US dollars; infinity for none.
        spent: by the calls that ended, at the worst case where their usage is unknown.
        exhausted: whether a call has been refused.
    """

    def __init__(self, limit: float = math.inf, spent: float = 0.0) -> None:
        if not limit >= 0:
            raise ValueError(f"the dollar limit is {limit}, expected a number >= 0")
        self.limit = limit
        self.spent = spent
        self.exhausted = False
        self._reserved: dict[str, float] = {}
        self._settled = asyncio.Event()

    async def reserve(self, call: str, worst: float) -> bool:
        """Sets the worst case of a call aside, waiting for calls in flight if their change may suffice.

        Returns:
            False if it cannot fit: the call must not start.
        """
        while self.spent + sum(self._reserved.values()) + worst > self.limit:
            if self.spent + worst > self.limit or not self._reserved:
                self.exhausted = True
                return False
            self._settled.clear()
            await self._settled.wait()
        self._reserved[call] = worst
        return True

    def settle(self, call: str, dollars: float) -> None:
        """Books what a reserved call cost and frees the rest."""
        del self._reserved[call]
        self.spent += dollars
        self._settled.set()
