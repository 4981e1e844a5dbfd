"""What every client saw and did, with the times of this one process: the only thing the verdict rests on."""

import time
from dataclasses import dataclass, field


def now():
    return time.monotonic()


@dataclass
class Settle:
    """One try to settle a delivery."""

    verb: str  # ack, nack, extend
    sent: float
    seconds: float | None = None  # of the delay or the extension
    answered: float | None = None
    status: str | None = None  # None: nobody knows


@dataclass
class Delivery:
    """A message as a member got it."""

    id: str
    who: str
    connection: int
    at: float
    retries: int
    cursor: str
    key: str
    payload: bytes
    ack_id: str
    settles: list[Settle] = field(default_factory=list)


@dataclass
class Message:
    """A message, from the first try to publish it."""

    id: str
    key: str
    place: int  # among the messages of its key
    payload: bytes
    poison: bool
    tries: list[tuple[float, str]] = field(default_factory=list)
    accepted: float | None = None
    cursor: str = ""
    deliveries: list[Delivery] = field(default_factory=list)

    def first_acked(self):
        """When the first answer `acked` came."""
        answers = [s.answered for d in self.deliveries for s in d.settles if s.status == "acked"]
        return min(answers, default=None)


class Journal:
    def __init__(self):
        self.began = now()
        self.messages = {}
        self.connections = {}  # (who, connection) -> [opened, lost or None, why]
        self.gateway = []  # (when, kill | drain | gone | ready)
        self.strange = []  # what must not be at all
        self.lag = 0.0  # the longest time this process did not look at its sockets
        self.moments = {}  # what to do when something is next heard

    def at(self, moment, act):
        self.moments[moment] = act

    def heard(self, moment):
        """Something came from the gateway: accepted, got, or a status."""
        if act := self.moments.pop(moment, None):
            act()

    def message(self, message):
        self.messages[message.id] = message
        return message

    def got(self, delivery):
        message = self.messages.get(delivery.id)
        if message is None:
            self.strange.append(f"nobody published {delivery}")
        else:
            message.deliveries.append(delivery)
        self.heard("got")

    def opened(self, who, connection):
        self.connections[who, connection] = [now(), None, ""]

    def lost(self, who, connection, why):
        entry = self.connections.get((who, connection))
        if entry and entry[1] is None:
            entry[1:] = now(), why

    def lost_between(self, begin, end):
        """How many connections ended in that time."""
        return sum(1 for _, lost, _ in self.connections.values() if lost is not None and begin < lost <= end)

    def gateway_between(self, begin, end, *kinds):
        return sum(1 for at, kind in self.gateway if kind in kinds and begin < at <= end)

    def story(self, message):
        """Everything that has to do with one message, in order."""
        lines = [(at, f"published: {what}") for at, what in message.tries]
        for delivery in message.deliveries:
            who = f"{delivery.who}#{delivery.connection}"
            lines.append((delivery.at, f"{who} got it, retry {delivery.retries}, ack id …{delivery.ack_id[-8:]}"))
            for settle in delivery.settles:
                more = "" if settle.seconds is None else f" {settle.seconds:.3f} s"
                lines.append((settle.sent, f"{who} …{delivery.ack_id[-8:]} {settle.verb}{more} sent"))
                if settle.answered is not None:
                    lines.append((settle.answered, f"{who} …{delivery.ack_id[-8:]} {settle.verb}: {settle.status}"))
        begin, end = min((at for at, _ in lines), default=0) - 1, max((at for at, _ in lines), default=0) + 1
        lines += [(at, f"the gateway: {kind}") for at, kind in self.gateway if begin < at < end]
        lines += [(lost, f"{who}#{connection} lost: {why}")
                  for (who, connection), (_, lost, why) in self.connections.items() if lost and begin < lost < end]
        head = f"{message.id}, key {message.key or '(none)'} #{message.place}, cursor {message.cursor}"
        return "\n".join([head, *(f"  {at - self.began:9.3f}  {what}" for at, what in sorted(set(lines)))])
