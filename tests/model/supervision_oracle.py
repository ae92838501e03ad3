"""The rules of supervision once more, as slowly and plainly as possible: lists are scanned, histories kept whole and recounted.

It shares with the core nothing but the words (specs, events). Jitter is left out: compare with `jitter=0`.
"""

from dataclasses import dataclass, field

from actorsys.supervision.states import (
    Add,
    Child,
    Drained,
    Exited,
    KillChild,
    LaunchFailed,
    Ready,
    Remove,
    RestartChild,
    Start,
    StartChild,
    Stop,
    StopChild,
    Tick,
    Unresponsive,
)

S = 1_000_000_000
Effect = tuple[str, ...]


@dataclass(eq=False)
class Kid:
    spec: Child
    state: str = "stopped"
    life: int = 0
    fate: str = ""  # what becomes of it once the process is gone; "": nobody wants it gone; "!": even a drain is cut short
    timer: int | None = None
    killed: bool = False
    pardon: bool = False
    ready_at: int | None = None
    had_enough: bool = False  # ended normally after having been ready
    gate: str = "strict"  # "strict": waits for all it depends on; "loose": not for what is down for good
    line: list["Kid"] | None = None  # the queue in which it starts and stops
    charged: list[tuple[int, str | None]] = field(default_factory=list)
    schedule: list[tuple[int, int | None, bool]] = field(default_factory=list)  # (death, ready since, was launched)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def alive(self) -> bool:
        return self.state in ("starting", "running", "draining", "stopping")


def incidents(deaths: list[tuple[int, str | None]], now: int, period: float) -> int:
    young = [(at, poison) for at, poison in deaths if now - at <= period * S]
    return sum(1 for _, poison in young if poison is None) + len({poison for _, poison in young if poison is not None})


class Oracle:
    def __init__(self, children, strategy, max_restarts, window, groups, max_starting):
        self.strategy, self.limit, self.window = strategy, max_restarts, window
        self.groups = {group.name: group for group in groups}
        self.max_starting = max_starting
        self.started = False
        self.ending = ""
        self.finished = False
        self.all_deaths: dict[str, list[tuple[int, str | None]]] = {}
        self.kids: list[Kid] = [Kid(child, state="waiting") for child in children]
        self.sort()

    def sort(self):
        placed: list[Kid] = []

        def place(kid, above=()):
            if kid in placed or kid in above:
                return
            for wanted in kid.spec.depends_on:
                for other in self.kids:
                    if wanted in (other.name, other.name.split("/")[0]):
                        place(other, (*above, kid))
            placed.append(kid)

        for kid in self.kids:
            place(kid)
        self.kids = placed

    def find(self, name) -> Kid | None:
        return next((kid for kid in self.kids if kid.name == name), None)

    # What happens

    def handle(self, event, now: int) -> list[Effect]:
        self.now, self.out = now, []
        self.happen(event)
        self.timers()
        for kid in self.kids[::-1]:
            must_go = kid.fate.endswith("!") if kid.state == "draining" else kid.fate and kid.state in ("starting", "running")
            if must_go and self.turn_to_stop(kid):
                self.ask(kid)
        if self.started and not self.ending:
            for kid in self.kids:
                busy = sum(1 for other in self.kids if other.state == "starting")
                if kid.state == "waiting" and busy < self.max_starting and self.turn_to_start(kid):
                    kid.state, kid.life, kid.had_enough = "starting", kid.life + 1, False
                    kid.timer = now + kid.spec.start_timeout_ns
                    self.out.append(("launch", kid.name, str(kid.life)))
        if self.ending and not self.finished and not any(kid.alive for kid in self.kids):
            self.finished = True
            self.out.append(("finished", self.ending))
        return self.out

    def happen(self, event):
        kid = self.find(getattr(event, "name", ""))
        living = kid if kid and kid.alive and getattr(event, "incarnation", kid.life) == kid.life else None
        match event:
            case Tick():
                pass
            case Start():
                if not self.started:
                    self.started = True
                    self.lines([kid for kid in self.kids if kid.state == "waiting"])
            case Stop(kill):
                self.stop_everything("shutdown")
                if kill:
                    for each in self.kids[::-1]:
                        self.kill(each)
            case Ready():
                if living and living.state == "starting" and not living.killed:
                    living.state, living.ready_at, living.timer = "running", self.now, None
                    if not living.fate:
                        self.leave_line(living)
            case Drained():
                if living and living.state == "draining":
                    living.fate = living.fate.rstrip("!") + "!"  # now it is to be asked
            case Unresponsive():
                if living:
                    self.kill(living)
            case Exited():
                if living:
                    self.gone(living, event, True)
            case LaunchFailed():
                if living:
                    self.gone(living, Exited(event.name, event.incarnation, "start_failed"), False)
            case Add(spec, start):
                known = self.find(spec.name)
                if self.ending or known:
                    self.out.append(("rejected", spec.name))
                else:
                    self.kids.append(Kid(spec, state="waiting" if start else "stopped"))
                    self.sort()
            case _:
                if self.ending or not kid or not self.command(kid, event):
                    self.out.append(("rejected", event.name))

    def command(self, kid: Kid, event) -> bool:
        up_or_coming = kid.state in ("starting", "running", "waiting")
        if kid.fate.rstrip("!") == "removed" and kid.state == "stopping":
            return False
        if isinstance(event, KillChild):
            if not kid.alive:
                return False
            if not kid.killed:
                kid.pardon = True
            self.kill(kid)
        elif isinstance(event, (StartChild, RestartChild)):
            if kid.state in ("stopped", "failed"):
                kid.charged, kid.schedule = [], []
                kid.state, kid.gate, kid.had_enough = "waiting", "strict", False
            elif kid.state == "stopping":
                kid.fate, kid.gate = "again", "loose"
            elif kid.state == "backoff":
                return False
            elif isinstance(event, StartChild):
                if up_or_coming:
                    return False
                kid.fate, kid.gate = "again" + "!" * kid.fate.endswith("!"), "loose"
            elif kid.state in ("running", "draining"):
                kid.fate, kid.gate = "again", "loose"
                self.ask(kid)
        elif isinstance(event, StopChild):
            if kid.state in ("waiting", "backoff"):
                self.down(kid)
            elif kid.state == "running" and event.drain and not kid.fate:
                kid.state, kid.fate = "draining", "stopped"
                self.out.append(("drain", kid.name, str(kid.life)))
            elif kid.state == "draining" and event.drain:
                kid.fate = "stopped" + "!" * kid.fate.endswith("!")
            elif kid.alive:
                kid.fate, kid.gate = "stopped", "loose"
                if kid.state != "stopping":
                    self.ask(kid)
        elif isinstance(event, Remove):
            if kid.state in ("stopped", "failed"):
                self.forget(kid)
            elif not event.force:
                return False
            elif kid.alive:
                kid.fate, kid.gate = "removed", "loose"
                if kid.state != "stopping":
                    self.ask(kid)
            else:
                self.down(kid, forget=True)
        return True

    # A process is gone

    def gone(self, kid: Kid, event: Exited, was_launched: bool):
        fate, was_starting = kid.fate.rstrip("!"), kid.state == "starting"
        ready_at, pardon = kid.ready_at, kid.pardon
        kid.fate, kid.killed, kid.pardon, kid.ready_at, kid.timer = "", False, False, None, None
        if fate == "again":
            kid.state = "waiting"
        elif fate == "failed":
            self.down(kid, "failed")
        elif fate in ("stopped", "dropped"):
            self.down(kid)
        elif fate == "removed":
            self.down(kid, forget=True)
        elif was_starting and event.ended:
            self.down(kid)
        else:
            self.died(kid, event, ready_at, was_launched, pardon)

    def died(self, kid: Kid, event: Exited, ready_at, was_launched, pardon):
        rule = kid.spec.restart
        polite = event.ended or event.reason in ("normal", "shutdown")
        polite = polite or (event.reason == "exit_code" and event.exit_code in rule.exit_ok)
        polite = polite and ready_at is not None
        if rule.type == "temporary" or (rule.type == "transient" and polite):
            kid.had_enough = polite
            self.down(kid)
            return
        wait = 0
        if not pardon:
            if self.charge("", self.limit, self.window, event.poison):
                self.down(kid, "failed")
                self.out.append(("escalated", ""))
                self.stop_everything("intensity")
                return
            group = self.groups.get(kid.spec.group or "")
            if group and self.charge(group.name, group.max_restarts, group.window, event.poison):
                self.down(kid, "failed")
                self.group_failed(group)
                return
            again = event.poison is not None and any(
                poison == event.poison and self.now - at <= rule.window * S for at, poison in kid.charged
            )
            kid.charged.append((self.now, event.poison))
            if incidents(kid.charged, self.now, rule.window) > rule.max_restarts:
                self.down(kid, "failed")
                if group:
                    self.group_failed(group)
                return
            if not again:
                kid.schedule.append((self.now, ready_at, was_launched))
                wait = self.wait_of(kid)
        kid.gate = "loose"
        kid.state, kid.timer = ("backoff", self.now + wait) if wait else ("waiting", None)
        comrades = self.comrades(kid)
        for other in comrades:
            if other.state == "draining":
                other.fate = other.fate.rstrip("!") + "!"
            elif other.alive and not other.fate:
                other.fate = "dropped" if other.spec.restart.type == "temporary" else "again"
                other.gate = "loose"
        self.queue_up([other for other in self.kids if other is kid or other in comrades])

    def charge(self, scope: str, limit: int, period: float, poison: str | None) -> bool:
        deaths = self.all_deaths.setdefault(scope, [])
        deaths.append((self.now, poison))
        return limit > 0 and incidents(deaths, self.now, period) > limit

    def wait_of(self, kid: Kid) -> int:
        """Replay all its deaths since the last clearing."""
        rule, exponent, due, wait = kid.spec.restart, 0, None, 0
        for at, ready_at, was_launched in kid.schedule:
            if ready_at is not None and at - ready_at >= round(rule.reset_after * S):
                exponent, due = 0, None
            is_first = due is None or (ready_at is not None and at - due > round(rule.window * S))
            if is_first and was_launched:
                wait = 0
            else:
                wait = min(round(rule.backoff * S) * 2**exponent, round(rule.backoff_max * S))
                exponent += 1
            due = at + wait
        return wait

    def comrades(self, dead: Kid) -> list[Kid]:
        group = self.groups.get(dead.spec.group or "")
        strategy = group.strategy if group else self.strategy
        place = self.kids.index(dead)
        found = []
        for index, kid in enumerate(self.kids):
            if kid is dead or kid.state in ("stopped", "failed") or (group and kid.spec.group != group.name):
                continue
            later = index > place
            if not group and kid.spec.group and self.groups[kid.spec.group].strategy == "one_for_all":
                later = any(other.spec.group == kid.spec.group for other in self.kids[place + 1 :])
            if strategy == "one_for_all" or (strategy == "rest_for_one" and later):
                found.append(kid)
        return found

    def group_failed(self, group):
        self.out.append(("escalated", group.name))
        if self.strategy == "one_for_all":
            self.out.append(("escalated", ""))
            self.stop_everything("escalation")
            return
        first = min(index for index, kid in enumerate(self.kids) if kid.spec.group == group.name)
        doomed = [
            kid
            for index, kid in enumerate(self.kids)
            if kid.spec.group == group.name or (self.strategy == "rest_for_one" and index > first)
        ]
        for kid in doomed:
            if kid.state in ("waiting", "backoff"):
                self.down(kid, "failed")
            elif kid.alive and kid.fate in ("", "again", "again!"):
                kid.fate = "failed!"
                kid.gate = "loose"
        self.lines(doomed)

    def stop_everything(self, reason: str):
        if self.ending:
            return
        self.ending = reason
        everybody = list(self.kids)
        for kid in everybody[::-1]:
            if kid.state in ("waiting", "backoff"):
                self.down(kid)
            elif kid.alive:
                kid.fate = "removed!" if kid.fate.rstrip("!") == "removed" else "stopped!"
        self.lines(everybody)

    # Order

    def lines(self, kids: list[Kid]):
        if self.strategy != "one_for_one":
            self.queue_up(kids)
            return
        for group in self.groups.values():
            if group.strategy != "one_for_one":
                self.queue_up([kid for kid in kids if kid.spec.group == group.name])

    def queue_up(self, kids: list[Kid]):
        kids = [kid for kid in kids if kid.state not in ("stopped", "failed")]
        if len(kids) < 2:
            return
        lines = [kid.line for kid in kids if kid.line is not None]
        line = [kid for kid in self.kids if kid in kids or any(kid.line is line for line in lines)]
        for kid in line:
            kid.line = line

    def leave_line(self, kid: Kid):
        kid.line = None

    def in_line_with(self, kid: Kid) -> list[Kid]:
        return [other for other in self.kids if other.line is kid.line] if kid.line is not None else []

    def turn_to_stop(self, kid: Kid) -> bool:
        for other in self.kids:
            leans = any(wanted in (kid.name, kid.name.split("/")[0]) for wanted in other.spec.depends_on)
            if leans and other.alive and other.fate and other.state != "draining":
                return False
        later = self.in_line_with(kid)
        later = [other for other in later if self.kids.index(other) > self.kids.index(kid) and other.alive and other.fate]
        return kid.spec.dynamic or not later

    def turn_to_start(self, kid: Kid) -> bool:
        for other in self.in_line_with(kid):
            group = self.groups.get(other.spec.group or "")
            together = (group.strategy if group else self.strategy) == "one_for_all"
            if (other.state == "backoff" and together) or (other.alive and other.fate):
                return False
            if self.kids.index(other) < self.kids.index(kid):
                return False  # it has not become ready yet, or it would have left the line
        for wanted in kid.spec.depends_on:
            meant = [other for other in self.kids if wanted in (other.name, other.name.split("/")[0])]
            if not meant and kid.gate == "strict":
                return False
            for other in meant:
                fine = other.state in ("running", "draining") or other.had_enough
                if not fine and not (kid.gate == "loose" and other.state in ("stopped", "failed")):
                    return False
        return True

    # Small steps

    def timers(self):
        while due := sorted((kid.timer, kid.name) for kid in self.kids if kid.timer is not None and kid.timer <= self.now):
            kid = self.find(due[0][1])
            kid.timer = None
            if kid.state == "backoff":
                kid.state = "waiting"
            else:
                self.kill(kid)

    def ask(self, kid: Kid):
        kid.state, kid.timer = "stopping", None
        kid.fate = kid.fate.rstrip("!")
        if kid.killed:
            return
        if kid.spec.stop_timeout_ns == 0:
            self.kill(kid)
            return
        self.out.append(("shutdown", kid.name, str(kid.life)))
        if kid.spec.stop_timeout_ns is not None:
            kid.timer = self.now + kid.spec.stop_timeout_ns

    def kill(self, kid: Kid):
        if kid.alive and not kid.killed:
            kid.killed, kid.timer = True, None
            self.out.append(("kill", kid.name, str(kid.life)))

    def down(self, kid: Kid, state: str = "stopped", *, forget: bool = False):
        kid.state, kid.timer = state, None
        self.leave_line(kid)
        if forget or (state == "stopped" and kid.spec.dynamic and kid.spec.restart.type == "temporary"):
            self.forget(kid)

    def forget(self, kid: Kid):
        self.kids.remove(kid)
        self.out.append(("removed", kid.name))
