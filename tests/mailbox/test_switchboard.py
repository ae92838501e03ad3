"""The pure machine of the mail: every event in, every action out."""

import msgspec
import pytest

from actorsys.mailbox.codec import encode
from actorsys.mailbox.dead_letters import KEPT as DEAD_LETTERS
from actorsys.mailbox.dead_letters import DeadLetter
from actorsys.mailbox.letter import (
    ASK,
    FAIL_WHEN_DOWN,
    FAILURE,
    HOST,
    PART,
    REMOTE,
    REPLY,
    STREAM,
    STREAM_WINDOW,
    TELL,
    Cancel,
    Credit,
    Failed,
    Forget,
    Frame,
    Full,
    Grant,
    Letter,
    Room,
    Withdraw,
)
from actorsys.mailbox.switchboard import Switchboard
from actorsys.mailbox.traffic import (
    Blamed,
    Close,
    Confirm,
    Deliver,
    Gone,
    Open,
    Posted,
    Reopen,
    Respec,
    Retry,
    Tell,
    Unanswered,
    Up,
)
from actorsys.messages import Failure
from actorsys.spec import MailboxSpec

NOW = 1_000


class World:
    """A switchboard, and short ways to say what happens to it."""

    def __init__(self):
        self.board = Switchboard()

    def open(self, name="a", *, up=True, replicas=1, **spec):
        for index in range(replicas):
            member = f"{name}/{index}"
            self.board.handle(Open(member, MailboxSpec(**spec), (name, member), name if replicas == 1 else member), NOW)
            if up:
                self.board.handle(Up(member), NOW)
        return self.box(f"{name}/0")

    def box(self, member="a/0"):
        return self.board.boxes[member]

    def take(self, source, *letters, acks=(), now=NOW):
        """As a driver does it that has read several frames."""
        actions = []
        self.board.take(source, Frame(list(acks), list(letters)), now, actions)
        return actions

    def settle(self, now=NOW):
        actions = []
        self.board.settle(now, actions)
        return actions

    def post(self, source=HOST, *letters, acks=(), notes=(), number=0, now=NOW):
        return self.board.handle(Posted(source, Frame(list(acks), list(letters), list(notes), number)), now)

    def tell(self, to="a", source=HOST, *, now=NOW, **more):
        return self.post(source, letter(TELL, 0, to, **more), now=now)

    def ask(self, to="a", source=HOST, *, number=1, now=NOW, **more):
        return self.post(source, letter(ASK, number, to, **more), now=now)

    def gone(self, member="a/0", *, charge=True, reason="killed by SIGKILL"):
        return self.board.handle(Gone(member, reason, charge), NOW)

    def up(self, member="a/0"):
        return self.board.handle(Up(member), NOW)

    def close(self, member="a/0", reason="a has failed", *, forget=False):
        return self.board.handle(Close(member, reason, forget), NOW)


def letter(kind, number, to, *, text="hi", priority=3, deadline=0, flags=0, sender=""):
    return Letter(kind, number, to, sender, "m:T", encode(text), priority, deadline, flags)


def delivered(actions, to="a/0"):
    return [one for action in actions if isinstance(action, Deliver) and action.to == to for one in action.letters]


def ids(actions, to="a/0"):
    return [one.id for one in delivered(actions, to)]


def of(kind, actions):
    return [action for action in actions if isinstance(action, kind)]


def failures(actions, to=HOST):
    """(asker's number, error) of each failure that an asker got."""
    return [
        (one.id, msgspec.msgpack.decode(one.payload, type=Failure).error())
        for one in delivered(actions, to)
        if one.kind == FAILURE
    ]


@pytest.fixture
def world():
    return World()


# --- acceptance


def test_frames_that_are_taken_together_go_out_together(world):
    box = world.open(window=2)
    assert world.take(HOST, letter(TELL, 0, "a")) == []
    assert world.take("b/0", letter(ASK, 7, "a"), letter(TELL, 0, "a")) == []
    assert (box.depth, box.out) == (3, {})
    assert ids(world.settle()) == [1, 2]
    assert world.settle() == []
    assert world.take("a/0", acks=[1]) == []
    assert ids(world.settle()) == [3]


def test_who_must_not_wait_hears_at_once(world):
    world.open(size=1)
    assert of(Tell, world.take(HOST, letter(TELL, 0, "a"))) == [Tell(HOST, Full("a"))]
    (failure,) = delivered(world.take(HOST, letter(ASK, 5, "nobody")), HOST)
    assert (failure.kind, failure.id) == (FAILURE, 5)
    world.settle()
    world.take("a/0", acks=[1])
    assert world.settle() == [Tell(HOST, Room("a"))]


def test_a_letter_that_waits_to_go_out_is_taken_back_or_kept_like_any_other(world):
    world.open()
    world.take(HOST, letter(ASK, 1, "a"), letter(TELL, 0, "a"))
    assert world.post(HOST, notes=[Forget(1)]) == [
        Deliver("a/0", [world.box().out[2]])
    ]  # taken back; the tell went out meanwhile
    world.take(HOST, letter(TELL, 0, "a"))
    world.gone()
    assert world.settle() == []
    assert ids(world.up()) == [2]  # the suspect first, alone
    assert ids(world.post("a/0", acks=[2])) == [3]


def test_a_tell_is_delivered_with_an_id_of_custody_and_the_senders_name(world):
    world.open("a")
    world.open("b")
    (action,) = world.tell("a", "b/0")
    (one,) = action.letters
    assert (action.to, one.id, one.sender) == ("a/0", 1, "b")
    assert (world.box().depth, len(world.box().out)) == (1, 1)


def test_a_sender_cannot_give_itself_another_name_unless_it_stands_for_somebody_off_the_node(world):
    world.open("a")
    (one,) = delivered(world.tell(sender="somebody"))
    assert one.sender == HOST
    (one,) = delivered(world.tell(sender="somebody", flags=REMOTE))
    assert one.sender == "somebody"


def test_mail_waits_until_the_agent_is_up(world):
    world.open(up=False)
    assert world.tell() == []
    assert world.ask() == []
    assert ids(world.up()) == [1, 2]


def test_a_frame_that_wants_to_be_confirmed_is_confirmed(world):
    world.open("a")
    actions = world.post("a/0", number=7)
    assert of(Confirm, actions) == [Confirm("a/0", 7)]
    assert of(Confirm, world.post("a/0")) == []


def test_an_ask_of_an_unknown_agent_fails_with_the_nearest_name(world):
    world.open("counter")
    ((number, error),) = failures(world.ask("conter", number=9))
    assert (number, type(error).__name__) == (9, "UnknownAgent")
    assert "Did you mean 'counter'?" in error.message


def test_a_tell_to_an_unknown_agent_is_a_dead_letter(world):
    world.open("b")
    (dead,) = world.tell("nobody", "b/0")
    assert isinstance(dead, DeadLetter)
    assert (dead.to, dead.sender, dead.at) == ("nobody", "b", NOW)
    assert dead.reason == "no agent is named 'nobody'. `actorsys ps` lists all agents."
    assert list(world.board.dead_letters) == [dead]


def test_ids_of_dead_letters_and_accepted_ones_do_not_meet(world):
    world.open("a")
    (dead,) = world.tell("nobody")
    (one,) = delivered(world.tell("a"))
    assert dead.id != one.id


# --- replies and acknowledgements


def test_a_reply_goes_to_the_asker_under_its_own_number(world):
    world.open("a")
    world.open("b")
    (number,) = ids(world.ask("a", "b/0", number=77))
    actions = world.post("a/0", letter(REPLY, number, "", text="there"), acks=[number])
    (reply,) = delivered(actions, "b/0")
    assert (reply.kind, reply.id, reply.payload) == (REPLY, 77, encode("there"))
    assert (world.box().depth, world.box().handled, world.box().expired) == (0, 1, 0)


def test_a_failure_goes_the_same_way(world):
    world.open("a")
    (number,) = ids(world.ask(number=77))
    payload = encode(Failure(kind="RemoteError", type="ValueError", message="no"))
    actions = world.post("a/0", Letter(FAILURE, number, "", "", "", payload), acks=[number])
    ((asked, error),) = failures(actions)
    assert (asked, error.message) == (77, "ValueError: no")


def test_a_late_reply_is_counted_and_dropped(world):
    world.open("a")
    (number,) = ids(world.ask())
    world.post("a/0", letter(REPLY, number, ""), acks=[number])
    assert world.post("a/0", letter(REPLY, number, "")) == []
    assert world.board.late_replies == 1


def test_an_ask_acknowledged_without_an_answer_has_expired(world):
    world.open("a")
    (number,) = ids(world.ask())
    world.post("a/0", acks=[number])
    assert (world.box().handled, world.box().expired) == (0, 1)


def test_an_acknowledgement_of_a_letter_that_is_not_here_changes_nothing(world):
    world.open("a")
    world.open("b")
    (number,) = ids(world.tell("a"))
    world.post("b/0", acks=[number])
    world.post("a/0", acks=[number + 1])
    assert world.box().depth == 1


def test_an_acknowledgement_makes_room_in_the_window(world):
    world.open(window=1)
    world.tell()
    assert world.tell() == []
    assert ids(world.post("a/0", acks=[1])) == [2]


def test_a_failed_tell_becomes_a_dead_letter_with_its_traceback(world):
    world.open("a")
    (number,) = ids(world.tell())
    failure = Failure(kind="RemoteError", type="ValueError", message="no", traceback="Traceback ...")
    (dead,) = world.post("a/0", notes=[Failed(number, failure)])
    assert (dead.id, dead.reason, dead.traceback) == (number, "ValueError: no", "Traceback ...")
    assert (world.box().failed, world.box().dead, world.box().depth) == (1, 1, 0)
    assert world.post("a/0", notes=[Failed(number, failure)]) == []


def test_a_host_that_acknowledges_has_no_mailbox_to_do_it_in(world):
    world.open("a")
    world.tell()
    assert world.post(HOST, acks=[1], notes=[Failed(1, Failure(kind="", type="", message=""))]) == []
    assert world.box().depth == 1


# --- deaths


def test_what_was_out_is_redelivered_one_at_a_time(world):
    world.open("a")
    for _ in range(3):
        world.tell()
    assert world.gone() == []
    assert ids(world.up()) == [1]
    world.tell()  # behind them
    assert ids(world.post("a/0", acks=[1])) == [2]
    assert ids(world.post("a/0", acks=[2])) == [3]
    assert ids(world.post("a/0", acks=[3])) == [4]


def test_a_death_with_several_outstanding_charges_none(world):
    world.open("a")
    world.tell()
    world.tell()
    assert of(Blamed, world.gone(charge=True)) == []
    assert [one.deliveries for one in world.box().suspects.values()] == [0, 0]


def test_a_death_with_a_single_one_outstanding_charges_it(world):
    world.open("a", max_deliveries=3)
    world.tell()
    (blamed,) = world.gone(charge=True)
    assert (blamed.name, blamed.letter.id, blamed.letter.deliveries, blamed.quarantined) == ("a/0", 1, 1, False)
    (again,) = delivered(world.up())
    assert again.deliveries == 1


def test_a_death_that_was_nobodys_fault_charges_none(world):
    world.open("a")
    world.tell()
    assert world.gone(charge=False) == []
    assert delivered(world.up())[0].deliveries == 0


def test_the_letter_that_kills_is_quarantined_and_the_others_lose_nothing(world):
    world.open("a", max_deliveries=3)
    for _ in range(4):
        world.tell()
    world.post("a/0", acks=[1])
    world.gone()  # 2, 3 and 4 were out: nobody is charged
    for deliveries in (1, 2):
        assert ids(world.up()) == [2]
        (blamed,) = world.gone()
        assert (blamed.letter.id, blamed.letter.deliveries, blamed.quarantined) == (2, deliveries, False)
    assert ids(world.up()) == [2]
    blamed, dead = world.gone(reason="killed by SIGKILL")
    assert (blamed.letter.id, blamed.quarantined) == (2, True)
    assert (dead.id, dead.deliveries, dead.reason) == (2, 3, "killed 'a' 3 times: killed by SIGKILL")
    assert ids(world.up()) == [3]
    assert ids(world.post("a/0", acks=[3])) == [4]
    assert world.box().dead == 1


def test_the_asker_of_a_quarantined_letter_is_told_that_it_may_have_run(world):
    world.open("a", max_deliveries=1)
    world.ask(number=9)
    actions = world.gone(reason="killed by SIGSEGV")
    ((number, error),) = failures(actions)
    assert (number, type(error).__name__, error.may_have_run) == (9, "AgentDown", True)
    assert error.reason == "killed 'a' 1 times: killed by SIGSEGV"
    assert len(of(DeadLetter, actions)) == 1


def test_a_stored_frame_acknowledges_suspects_that_have_not_gone_out_again(world):
    world.open("a")
    world.open("b")
    for _ in range(3):
        world.tell()
    world.gone()
    assert ids(world.up()) == [1]
    (number,) = ids(world.ask("a", "b/0", number=5)) or [4]
    assert ids(world.post("a/0", acks=[1, 2])) == [3]  # the frame of the life before stood for both
    assert ids(world.post("a/0", acks=[3])) == [number]


def test_the_window_of_a_new_life_opens_when_all_suspects_are_done(world):
    world.open("a", window=2)
    for _ in range(5):
        world.tell()
    world.gone()
    assert ids(world.up()) == [1]
    assert ids(world.post("a/0", acks=[1])) == [2]
    assert ids(world.post("a/0", acks=[2])) == [3, 4]


def test_the_asks_of_the_dead_are_cancelled(world):
    world.open("a")
    world.open("b", window=1)
    world.ask("b", "a/0", number=1)
    world.ask("b", "a/0", number=2)
    actions = world.gone("a/0")
    assert of(Tell, actions) == [Tell("b/0", Cancel(1))]
    assert world.box("b/0").depth == 1  # the one that had not gone out was taken back
    world.post("b/0", letter(REPLY, 1, ""), acks=[1])
    assert world.board.late_replies == 1


def told(cause, ordinal, to="b"):
    """A tell of the handler of letter `cause`, the how-manyth."""
    return Letter(TELL, 0, to, "", "m:T", encode(ordinal), 3, cause=cause, ordinal=ordinal)


def test_a_tell_that_was_taken_from_an_earlier_attempt_is_not_taken_again(world):
    world.open("a")
    world.open("b")
    world.tell("a")
    world.post("a/0", told(1, 1), told(1, 2))
    world.gone("a/0")
    world.up("a/0")
    actions = world.post("a/0", told(1, 1), told(1, 2), told(1, 3), acks=[1])
    assert [one.payload for one in delivered(actions, "b/0")] == [encode(3)]
    assert world.board.repeated_tells == 2
    assert world.box("b/0").depth == 3


def test_a_tell_for_a_letter_that_is_not_under_way_is_taken_as_it_comes(world):
    world.open("a")
    world.open("b")
    for _ in range(2):
        assert delivered(world.post("a/0", told(1, 1)), "b/0")
    assert delivered(world.post(HOST, told(1, 1)), "b/0")
    assert world.board.repeated_tells == 0


def test_one_handler_does_not_hide_the_tells_of_another(world):
    world.open("a")
    world.open("b")
    world.tell("a")
    world.tell("a")
    assert len(ids(world.post("a/0", told(1, 1), told(2, 1), told(1, 2)), "b/0")) == 3


# --- asks that do not wait


def test_an_ask_that_does_not_wait_fails_at_once_while_the_agent_is_down(world):
    world.open(up=False)
    ((number, error),) = failures(world.ask(number=9, flags=FAIL_WHEN_DOWN))
    assert (number, type(error).__name__, error.may_have_run) == (9, "AgentDown", False)
    assert world.box().depth == 0


def test_an_ask_that_does_not_wait_fails_when_its_agent_dies_with_it(world):
    world.open("a")
    world.ask(number=1)
    world.ask(number=2, flags=FAIL_WHEN_DOWN)
    ((number, error),) = failures(world.gone())
    assert (number, error.may_have_run, error.reason) == (2, True, "killed by SIGKILL")
    assert ids(world.up()) == [1]


def test_an_ask_that_does_not_wait_fails_also_when_it_was_still_queued_at_the_death(world):
    world.open("a", window=1)
    world.ask(number=1)
    world.ask(number=2, flags=FAIL_WHEN_DOWN)
    world.ask(number=3)
    ((number, error),) = failures(world.gone())
    assert (number, error.may_have_run, error.reason) == (2, False, "killed by SIGKILL")
    assert ids(world.up()) == [1]
    assert ids(world.post("a/0", acks=[1])) == [3]


def test_other_asks_wait_for_the_restart(world):
    world.open("a")
    world.ask(number=5)
    assert failures(world.gone(charge=False)) == []
    assert ids(world.up()) == [1]
    (reply,) = delivered(world.post("a/0", letter(REPLY, 1, ""), acks=[1]), HOST)
    assert reply.id == 5


# --- closing


def test_closing_answers_every_ask_and_says_whether_it_may_have_run(world):
    world.open("a", window=2)
    for number in (1, 2, 3):
        world.ask(number=number)
    world.gone(charge=False)
    actions = world.close(reason="a has failed: killed by SIGKILL")
    told = {number: (error.may_have_run, error.reason, error.message) for number, error in failures(actions)}
    reason = "a has failed: killed by SIGKILL"
    ran = f"'a' ended before it answered (its handler may have run): {reason}"
    assert told == {
        1: (True, reason, ran),
        2: (True, reason, ran),
        3: (False, reason, f"'a' ended before it answered (its handler has not run): {reason}"),
    }
    assert world.box().depth == 0
    assert of(DeadLetter, actions) == []


def test_closing_dead_letters_every_tell(world):
    world.open("a", window=1)
    world.tell()
    world.tell()
    assert [(dead.id, dead.reason) for dead in of(DeadLetter, world.close())] == [(1, "a has failed"), (2, "a has failed")]
    assert world.box().dead == 2


def test_a_closed_mailbox_takes_nothing_until_it_is_opened_again(world):
    world.open("a")
    world.gone()
    world.close()
    ((_, error),) = failures(world.ask())
    assert (error.may_have_run, error.reason) == (False, "a has failed")
    (dead,) = world.tell()
    assert "a has failed" in dead.reason
    world.board.handle(Reopen("a/0"), NOW)
    assert world.tell() == []
    assert len(ids(world.up())) == 1


def test_a_forgotten_agent_is_unknown_and_its_replies_are_late(world):
    world.open("a")
    (number,) = ids(world.ask())
    world.close(forget=True)
    assert not world.board.knows("a")
    assert not world.board.knows("a/0")
    assert "a/0" not in world.board.boxes
    ((_, error),) = failures(world.ask("a"))
    assert type(error).__name__ == "UnknownAgent"
    assert world.post("a/0", letter(REPLY, number, ""), acks=[number]) == []
    assert world.board.late_replies == 1


def test_forgetting_one_replica_keeps_the_address_of_the_others(world):
    world.open("a", replicas=2)
    world.close("a/0", forget=True)
    assert world.board.knows("a")
    assert delivered(world.tell("a"), "a/1")


def test_closing_wakes_those_who_wait_for_room(world):
    world.open("a", up=False, size=1)
    world.open("b")
    world.tell("a", "b/0")
    assert Tell("b/0", Room("a")) in world.close()


# --- room


@pytest.mark.parametrize(("overflow", "reject"), [("block", False), ("reject", True)])
def test_each_sender_is_told_once_that_there_is_no_room_and_once_that_there_is(world, overflow, reject):
    world.open("a", size=4, overflow=overflow)
    world.open("b")
    for _ in range(3):
        assert of(Tell, world.tell("a", "b/0")) == []
    assert of(Tell, world.tell("a", "b/0")) == [Tell("b/0", Full("a", reject))]
    assert of(Tell, world.tell("a", "b/0")) == []  # under way already: kept
    assert of(Tell, world.tell("a")) == [Tell(HOST, Full("a", reject))]
    assert world.box().depth == 6
    assert of(Tell, world.post("a/0", acks=[1, 2, 3])) == []  # three left: more than half of four
    assert of(Tell, world.post("a/0", acks=[4])) == [Tell(HOST, Room("a")), Tell("b/0", Room("a"))]
    assert of(Tell, world.post("a/0", acks=[5])) == []


def test_the_note_names_the_address_that_the_sender_used(world):
    world.open("a", replicas=2, size=1)
    assert of(Tell, world.tell("a/1")) == [Tell(HOST, Full("a/1"))]


def test_bytes_fill_a_mailbox_too(world):
    world.open("a", bytes=1000)
    assert of(Tell, world.tell(text="x" * 1000)) == [Tell(HOST, Full("a"))]
    assert of(Tell, world.post("a/0", acks=[1])) == [Tell(HOST, Room("a"))]


def test_a_tell_to_oneself_never_waits(world):
    world.open("a", size=1)
    assert of(Tell, world.tell("a", "a/0")) == []
    assert of(Tell, world.tell("a", "a/0")) == []


def test_but_what_arrives_over_nats_for_oneself_does(world):
    world.open("a", size=1)
    assert of(Tell, world.tell("a", "a/0", flags=REMOTE)) == [Tell("a/0", Full("a"))]


def test_a_sender_that_died_is_not_told_of_room_but_its_next_life_is_told_anew(world):
    world.open("a", size=2)
    world.open("b")
    world.tell("a", "b/0")
    world.tell("a", "b/0")
    world.tell("a", HOST)
    world.gone("b/0")
    world.up("b/0")
    assert of(Tell, world.tell("a", "b/0")) == [Tell("b/0", Full("a"))]
    assert of(Tell, world.post("a/0", acks=[1, 2, 3, 4])) == [Tell(HOST, Room("a")), Tell("b/0", Room("a"))]


def test_drop_oldest_buries_the_oldest_queued_letter(world):
    world.open("a", up=False, size=2, overflow="drop_oldest")
    world.tell()
    world.ask(number=7)
    actions = world.tell()
    assert [(dead.id, dead.reason) for dead in of(DeadLetter, actions)] == [(1, "mailbox full, oldest dropped")]
    assert of(Tell, actions) == []
    ((number, error),) = failures(world.tell())
    assert (number, error.may_have_run) == (7, False)
    assert ids(world.up()) == [3, 4]


def test_when_all_the_rest_is_out_the_bound_of_drop_oldest_costs_the_new_letter_itself(world):
    world.open("a", size=1, window=9, overflow="drop_oldest")
    world.tell()
    actions = world.tell()
    assert [dead.id for dead in of(DeadLetter, actions)] == [2]
    assert list(world.box().out) == [1]


# --- order, priority, expiry


def test_urgent_letters_overtake_those_that_wait(world):
    world.open("a", up=False)
    for priority in (3, 5, 1, 3):
        world.tell(priority=priority)
    assert ids(world.up()) == [3, 1, 4, 2]


def test_an_expired_letter_is_dropped_before_it_is_delivered(world):
    world.open("a", up=False)
    world.ask(number=1, deadline=NOW)
    world.ask(number=2, deadline=NOW + 1)
    world.tell()
    assert ids(world.up()) == [2, 3]
    assert (world.box().expired, world.box().depth) == (1, 2)


def test_a_window_full_of_expired_letters_makes_way_at_once(world):
    world.open("a", up=False, window=2)
    for number in range(5):
        world.ask(number=number, deadline=NOW)
    world.tell()
    assert ids(world.up()) == [6]
    assert world.box().expired == 5


def test_an_expired_tell_counts_as_expired_and_not_as_handled(world):
    world.open("a", up=False)
    world.tell(deadline=NOW)
    assert ids(world.up()) == []
    assert world.box().depth == 0
    assert (world.box().handled, world.box().expired) == (0, 1)


def test_room_is_announced_when_expiry_made_it(world):
    world.open("a", up=False, size=2)
    for number in (1, 2):
        actions = world.ask(number=number, deadline=NOW + 5)
    assert of(Tell, actions) == [Tell(HOST, Full("a"))]
    actions = world.board.handle(Up("a/0"), NOW + 10)
    assert of(Tell, actions) == [Tell(HOST, Room("a"))]


def test_room_is_announced_when_a_quarantine_or_a_failed_ask_made_it(world):
    world.open("a", size=1, max_deliveries=1)
    assert of(Tell, world.tell()) == [Tell(HOST, Full("a"))]
    assert of(Tell, world.gone()) == [Tell(HOST, Room("a"))]
    world.up()
    assert of(Tell, world.ask(flags=FAIL_WHEN_DOWN)) == [Tell(HOST, Full("a"))]
    assert of(Tell, world.gone(charge=False)) == [Tell(HOST, Room("a"))]


def test_room_is_announced_when_a_cancellation_made_it(world):
    world.open("a", up=False, size=1)
    assert of(Tell, world.ask(number=9)) == [Tell(HOST, Full("a"))]
    assert of(Tell, world.post(HOST, notes=[Forget(9)])) == [Tell(HOST, Room("a"))]


# --- cancellation


def test_a_cancelled_ask_that_has_not_gone_out_is_taken_back(world):
    world.open("a", window=1)
    world.ask(number=1)
    world.ask(number=2)
    assert world.post(HOST, notes=[Forget(2)]) == []
    assert world.box().depth == 1


def test_a_cancelled_ask_that_is_out_has_its_handler_stopped(world):
    world.open("a")
    world.ask(number=9)
    assert world.post(HOST, notes=[Forget(9)]) == [Tell("a/0", Cancel(1))]
    world.post("a/0", acks=[1])
    assert world.box().depth == 0


def test_a_cancelled_ask_that_is_suspect_goes_out_again_but_nobody_waits(world):
    world.open("a")
    world.ask(number=9)
    world.gone()
    assert world.post(HOST, notes=[Forget(9)]) == []
    assert failures(world.close()) == []


def test_only_the_asker_itself_can_cancel(world):
    world.open("a")
    world.open("b")
    world.ask(number=9)
    assert world.post("b/0", notes=[Forget(9)]) == []
    assert world.post(HOST, notes=[Forget(8)]) == []


# --- replicas


def test_the_least_loaded_replica_gets_the_letter(world):
    world.open("a", replicas=3)
    for member in ("a/0", "a/1", "a/2", "a/0"):
        assert delivered(world.tell("a"), member)
    world.post("a/0", acks=[1, 4])
    assert delivered(world.tell("a"), "a/0")


def test_a_replica_that_is_down_gets_letters_only_when_all_are_and_a_closed_one_never(world):
    world.open("a", replicas=3)
    world.gone("a/0")
    for _ in range(4):
        world.tell("a")
    assert [world.box(f"a/{index}").depth for index in range(3)] == [0, 2, 2]
    for member in ("a/1", "a/2"):
        world.gone(member)
    world.close("a/0")
    world.tell("a")
    world.tell("a")
    assert [world.box(f"a/{index}").depth for index in range(3)] == [0, 3, 3]


def test_a_replica_is_reached_by_its_own_name_and_is_shown_with_it(world):
    world.open("a", replicas=2)
    world.open("b")
    assert delivered(world.tell("a/1"), "a/1")
    (one,) = delivered(world.tell("b", "a/1"), "b/0")
    assert one.sender == "a/1"


# --- bounds


def test_dead_letters_are_bounded(world):
    for _ in range(DEAD_LETTERS + 5):
        world.tell("nobody")
    assert len(world.board.dead_letters) == DEAD_LETTERS
    assert min(dead.id for dead in world.board.dead_letters) == 6


# --- what stored frames need


def test_tells_of_a_suspect_that_come_with_the_frame_of_the_letter_before_it_are_taken_once(world):
    world.open("a")
    world.open("b")
    first, second = ids(world.tell("a")), ids(world.tell("a"))
    world.gone()
    assert ids(world.up()) == first
    told = letter(TELL, 0, "b")
    told.cause, told.ordinal = second[0], 1
    # The stored frame: it acknowledges the first letter, and carries what the handler of the second had told before it waited.
    assert delivered(world.post("a/0", told, acks=first), "b/0")
    again = letter(TELL, 0, "b")
    again.cause, again.ordinal = second[0], 1
    assert delivered(world.post("a/0", again, acks=second), "b/0") == []
    assert world.board.repeated_tells == 1
    assert not world.board._taken


def test_what_was_out_at_a_death_goes_out_again_even_expired_as_its_frame_may_be_stored(world):
    world.open("a")
    (number,) = ids(world.ask(deadline=NOW + 10))
    world.gone()
    assert delivered(world.board.handle(Up("a/0"), NOW + 20))[0].id == number
    world.post("a/0", acks=[number], now=NOW + 20)
    assert (world.box().depth, world.box().expired) == (0, 1)


def test_what_a_closed_mailbox_had_taken_of_a_handler_is_forgotten(world):
    world.open("a")
    world.open("b")
    (number,) = ids(world.ask("a"))
    told = letter(TELL, 0, "b")
    told.cause, told.ordinal = number, 1
    world.post("a/0", told)
    assert world.board._taken == {number: 1}
    world.gone()
    world.close()
    assert not world.board._taken


# --- other bounds, other chances


def test_a_larger_bound_is_room_at_once(world):
    world.open("a", size=1)
    world.tell()
    actions = world.board.handle(Respec("a/0", MailboxSpec(size=10), "alpha"), NOW)
    assert of(Tell, actions) == [Tell(HOST, Room("a"))]
    assert world.box().shown == "alpha"


def test_a_wider_window_lets_more_out_at_once(world):
    world.open("a", window=1)
    world.tell()
    assert world.tell() == []
    assert ids(world.board.handle(Respec("a/0", MailboxSpec(window=2), "a"), NOW)) == [2]


def test_a_dead_letter_may_be_sent_again_as_new_mail(world):
    (dead,) = world.tell("a")
    world.open("a")
    (again,) = delivered(world.board.handle(Retry(dead.id), NOW))
    assert (again.type, again.payload, again.deliveries) == (dead.type, dead.payload, 0)
    assert again.id > dead.id
    assert len(world.board.dead_letters) == 0


def test_a_dead_letter_that_still_has_no_taker_is_dead_again(world):
    (dead,) = world.tell("a")
    (again,) = world.board.handle(Retry(dead.id), NOW)
    assert isinstance(again, DeadLetter)
    assert [one.id for one in world.board.dead_letters] == [again.id]


def test_the_board_knows_its_addresses_and_its_open_asks(world):
    box = world.open("a")
    assert (world.board.knows("a"), world.board.knows("b")) == (True, False)
    assert world.board.behind("a") == [box]
    assert world.board.behind("b") == []
    assert not world.board.is_durable("a")
    world.ask()
    assert len(world.board._replies) == 1


def test_a_letter_from_off_the_node_that_comes_twice_is_taken_once(world):
    world.open("a")
    taken = []
    for _ in range(2):
        one = letter(TELL, 0, "a", flags=REMOTE, sender="far")
        one.headers = {"message_id": "7d9", "metadata": {"node": "far"}}
        taken.append(len(delivered(world.post("a/0", one))))
    assert taken == [1, 0]


def test_whoever_waits_on_nats_is_answered_when_no_handler_will(world):
    def asked(to):
        one = letter(TELL, 0, to, flags=REMOTE, sender="far")
        one.headers = {"kind": "request", "reply": "_INBOX.1", "message_id": "1", "metadata": {}}
        return one

    world.open("a")
    world.open("b", max_deliveries=1)
    (refused,) = of(Unanswered, world.post("a/0", asked("nobody")))
    assert refused.failure.kind == "UnknownAgent"
    world.post("b/0", asked("b"))
    (quarantined,) = of(Unanswered, world.gone("b/0"))
    assert (quarantined.failure.kind, quarantined.letter.to) == ("AgentDown", "b")
    world.up("b/0")
    world.post("b/0", asked("b"))
    (closed,) = of(Unanswered, world.close("b/0"))
    assert "b has" in closed.failure.message or "a has failed" in closed.failure.message


def far_request(number="7d9", to="a"):
    one = letter(TELL, 0, to, flags=REMOTE, sender="far")
    one.headers = {"kind": "request", "reply": "_INBOX.1", "message_id": number, "metadata": {"node": "far"}}
    return one


def test_a_far_request_that_nobody_wants_any_more_is_taken_back_or_its_handler_stopped(world):
    box = world.open("a", window=1, replicas=2)
    world.post("a/0", far_request("1", "a/0"))
    world.post("a/0", far_request("2", "a/0"))
    assert world.post("a/1", notes=[Withdraw("a", "2", "far")]) == []  # any replica may hear of it
    assert box.depth == 1
    assert world.post("a/1", notes=[Withdraw("a", "1", "far")]) == [Tell("a/0", Cancel(1))]
    notes = [Withdraw("a", "other", "far"), Withdraw("nobody", "1", "far"), Withdraw("a", "1", "far")]
    assert world.post("a/1", notes=notes) == [Tell("a/0", Cancel(1))]


def test_a_stranger_takes_back_no_request_of_another(world):
    box = world.open("a", window=1)
    world.post("a/0", far_request("1"), far_request("2"))
    assert world.post("a/0", notes=[Withdraw("a", number, "stranger") for number in ("1", "2", "3")]) == []
    assert box.depth == 2
    assert box.find("3", "far") is None
    world.post("a/0", far_request("3"))
    assert box.depth == 3


def test_taking_back_at_random_makes_no_message_handled_twice(world):
    box = world.open("a")
    world.post("a/0", far_request("1"))
    for first in range(0, 30_000, 1000):
        world.post("a/0", notes=[Withdraw("a", f"random {number}", "far") for number in range(first, first + 1000)])
    world.post("a/0", far_request("1"))
    assert box.depth == 1


def test_a_far_request_that_comes_after_its_asker_has_gone_is_not_taken(world):
    box = world.open("a")
    world.post("a/0", notes=[Withdraw("a", "1", "far")])
    assert world.post("a/0", far_request("1")) == []
    assert box.depth == 0


def test_a_far_request_out_at_a_death_expires_when_nobody_wants_it_any_more(world):
    world.open("a")
    world.post("a/0", far_request("1"))
    world.gone("a/0")
    assert world.post(HOST, notes=[Withdraw("a", "1", "far")]) == []
    (again,) = delivered(world.up("a/0"))  # its agent may have a stored frame, and says so
    assert 0 < again.deadline <= NOW


def test_a_broadcast_is_for_each_mailbox(world):
    world.open("a")
    world.open("b")
    said = [far_request("1", to) for to in ("a", "b")]
    for one in said:
        one.headers["kind"] = "broadcast"
    assert len(of(Deliver, world.post(HOST, *said))) == 2


@pytest.mark.parametrize("headers", [{}, {"message_id": 5, "metadata": {"node": "x"}}, {"message_id": [], "metadata": 7}])
def test_headers_that_make_no_sense_break_nothing(world, headers):
    world.open("a")
    one = letter(TELL, 0, "a", flags=REMOTE, sender="far")
    one.headers = headers
    assert len(delivered(world.post("a/0", one))) == 1


def remote(number="1", *, kind="request", reply="_INBOX.x", flags=0, node="far"):
    one = letter(TELL, 0, "a", flags=REMOTE | flags, sender="asker")
    one.headers = {"kind": kind, "reply": reply, "message_id": number, "metadata": {"node": node} if node else {}}
    return one


def unanswered(actions):
    return [(action.letter.headers["message_id"], action.failure.kind) for action in actions if isinstance(action, Unanswered)]


def test_what_another_node_sends_again_is_taken_once(world):
    world.open()
    assert len(delivered(world.post("a/0", remote("1")))) == 1
    assert not delivered(world.post("a/0", remote("1"), remote("1")))
    assert len(delivered(world.post(HOST, remote("2")))) == 1
    assert len(delivered(world.post(HOST, remote("3", node=""), remote("3", node="")))) == 2  # a plain client means what it sends


def test_a_request_of_another_node_that_ends_without_an_answer_is_handed_back(world):
    world.open(max_deliveries=1)
    world.post("a/0", remote("poison"))
    actions = world.gone()
    assert unanswered(actions) == [("poison", "AgentDown")]
    assert [action.reason for action in actions if isinstance(action, DeadLetter)]
    world.post(HOST, remote("waiting"), remote("told", kind="direct"), remote("blind", reply=""))
    actions = world.close()
    assert unanswered(actions) == [("waiting", "AgentDown")]
    assert len([action for action in actions if isinstance(action, DeadLetter)]) == 2
    assert unanswered(world.post(HOST, remote("late"))) == [("late", "AgentDown")]


def test_a_request_of_another_node_that_does_not_wait_for_a_restart_fails_at_once(world):
    world.open()
    world.post("a/0", remote("out", flags=FAIL_WHEN_DOWN), remote("waits"))
    assert unanswered(world.gone()) == [("out", "AgentDown")]
    assert unanswered(world.post(HOST, remote("late", flags=FAIL_WHEN_DOWN))) == [("late", "AgentDown")]


def task(number, **metadata):
    """A task handed over, or with metadata a message that may want a completion."""
    one = remote(number, kind="direct", reply="")
    one.headers["message_type"] = "message" if metadata else "handoff"
    one.headers["metadata"] |= metadata
    return one


@pytest.mark.parametrize("metadata", [{}, {"notify": True}])
def test_the_sender_of_a_task_that_ends_without_its_handler_is_told(world, metadata):
    world.open(max_deliveries=1)
    world.post("a/0", task("poison", **metadata))
    assert unanswered(world.gone()) == [("poison", "AgentDown")]
    world.post(HOST, task("waiting", **metadata), task("other", notify=False))
    actions = world.close()
    assert unanswered(actions) == [("waiting", "AgentDown")]
    assert len(of(DeadLetter, actions)) == 2  # told of, and kept all the same
    late = world.post(HOST, task("late", **metadata), task("blind", notify=False))
    assert unanswered(late) == [("late", "AgentDown")]
    assert len(of(DeadLetter, late)) == 2


def test_the_sender_of_a_task_that_is_dropped_for_room_is_told(world):
    world.open(window=1, size=2, overflow="drop_oldest")
    actions = world.post("a/0", *(task(str(number)) for number in range(3)))
    assert unanswered(actions) == [("0", "AgentDown")]


def test_a_task_whose_handler_failed_is_told_of_by_its_agent_alone(world):
    world.open()
    (letter,) = delivered(world.post("a/0", task("1")))
    actions = world.post("a/0", notes=[Failed(letter.id, Failure.of(ValueError("boom")))])
    assert unanswered(actions) == []
    assert [dead.reason for dead in of(DeadLetter, actions)] == ["ValueError: boom"]


# --- streams


def part(number, ordinal, payload=b"x"):
    return Letter(PART, number, "", "", "", payload, ordinal=ordinal)


def end(number, parts):
    return Letter(REPLY, number, "", "", "", encode(None), ordinal=parts)


@pytest.fixture
def stream(world):
    """The id of a stream that b/0 has asked a/0 for, as its number 7."""
    world.open("a")
    world.open("b")
    (number,) = ids(world.ask("a", "b/0", number=7, flags=STREAM))
    return number


def test_parts_pass_in_order_under_the_askers_number_and_the_reply_ends_them(world, stream):
    passed = delivered(world.post("a/0", part(stream, 1), part(stream, 2)), "b/0")
    assert [(one.kind, one.id, one.ordinal) for one in passed] == [(PART, 7, 1), (PART, 7, 2)]
    (last,) = delivered(world.post("a/0", end(stream, 2), acks=[stream]), "b/0")
    assert (last.kind, last.id) == (REPLY, 7)
    assert (world.box().handled, world.box().expired) == (1, 0)
    assert world.post("a/0", part(stream, 3)) == []


def test_a_part_that_came_before_is_dropped(world, stream):
    world.post("a/0", part(stream, 1))
    assert world.post("a/0", part(stream, 1)) == []


@pytest.mark.parametrize("letter", [part(1, 3), end(1, 2)], ids=["part", "end"])
def test_a_part_that_is_missing_breaks_the_stream(world, stream, letter):
    world.post("a/0", part(stream, 1))
    actions = world.post("a/0", letter)
    ((number, error),) = failures(actions, "b/0")
    assert (number, type(error).__name__, error.may_have_run) == (7, "AgentDown", True)
    assert "'a' has sent 1 parts" in error.message
    assert of(Tell, actions) == ([Tell("a/0", Cancel(stream))] if letter.kind == PART else [])


def test_who_sends_parts_without_credit_is_cut_off(world, stream):
    world.post("a/0", *[part(stream, number) for number in range(1, STREAM_WINDOW)], part(stream, STREAM_WINDOW, bytes(9000)))
    actions = world.post("a/0", part(stream, STREAM_WINDOW + 1))
    assert of(Tell, actions) == [Tell("a/0", Cancel(stream))]
    assert len(failures(actions, "b/0")) == 1


def test_credit_reaches_the_agent_up_to_what_is_under_way(world, stream):
    world.post("a/0", part(stream, 1), part(stream, 2, bytes(4096)))
    assert world.post("b/0", notes=[Credit(7, 2)]) == [Tell("a/0", Grant(stream, 2))]
    assert world.post("b/0", notes=[Credit(7, 100)]) == [Tell("a/0", Grant(stream, 1))]
    assert world.post("b/0", notes=[Credit(7, 1)]) == []
    assert world.post("b/0", notes=[Credit(8, 1)]) == []


def test_parts_for_who_asked_for_a_reply_are_dropped(world):
    world.open("a")
    (number,) = ids(world.ask())
    assert world.post("a/0", part(number, 1)) == []
    assert world.box().out


def test_a_stream_of_which_a_part_has_passed_ends_with_its_agent(world, stream):
    world.post("a/0", part(stream, 1))
    actions = world.gone()
    ((number, error),) = failures(actions, "b/0")
    assert (number, type(error).__name__, error.may_have_run) == (7, "AgentDown", True)
    assert [action.letter.deliveries for action in of(Blamed, actions)] == [1]
    assert world.up() == []
    assert world.box().depth == 0


def test_a_stream_whose_first_parts_come_in_a_stored_frame_ends_there(world, stream):
    world.gone()
    delivered(world.post("a/0", part(stream, 1)), "b/0")  # its next life sends what the last one had stored
    (failure,) = delivered(world.up(), "b/0")
    assert (failure.kind, failure.id) == (FAILURE, 7)
    assert world.box().depth == 0


def test_a_stream_that_ends_in_a_stored_frame_is_whole(world, stream):
    world.gone()
    passed = delivered(world.post("a/0", part(stream, 1), end(stream, 1), acks=[stream]), "b/0")
    assert [each.kind for each in passed] == [PART, REPLY]
    assert world.up() == []


def test_a_stream_without_a_part_is_delivered_again(world, stream):
    assert failures(world.gone(), "b/0") == []
    assert ids(world.up()) == [stream]


def test_a_stream_that_kills_is_quarantined_after_a_part_too(world):
    world.open("a", max_deliveries=1)
    (number,) = ids(world.ask(number=7, flags=STREAM))
    world.post("a/0", part(number, 1))
    actions = world.gone()
    assert [action.quarantined for action in of(Blamed, actions)] == [True]
    assert len(failures(actions)) == len(of(DeadLetter, actions)) == 1


def test_a_stream_whose_reader_has_gone_is_cancelled(world, stream):
    world.post("a/0", part(stream, 1))
    assert of(Tell, world.post("b/0", notes=[Forget(7)])) == [Tell("a/0", Cancel(stream))]
    assert world.post("a/0", part(stream, 2)) == []


def test_a_stream_is_cancelled_when_its_reader_dies(world, stream):
    assert of(Tell, world.gone("b/0")) == [Tell("a/0", Cancel(stream))]


@pytest.mark.parametrize("first", ["forget", "gone"])
def test_a_stream_that_nobody_reads_is_not_handled_again(world, stream, first):
    steps = {"forget": lambda: world.post("b/0", notes=[Forget(7)]), "gone": world.gone}
    for step in (first, *(steps.keys() - {first})):
        steps[step]()
    (again,) = delivered(world.up())
    assert (again.id, again.deadline) == (stream, 1)  # expired: its agent skips it, unless it has a stored answer


def test_a_stream_that_its_reader_on_another_node_takes_back_is_not_handled_again(world):
    world.open("a")
    one = letter(TELL, 0, "a", flags=REMOTE | STREAM, sender="ann")
    one.headers = {"kind": "request", "reply": "_INBOX.1", "message_id": "1", "metadata": {"node": "b"}}
    world.post(HOST, one)
    (number,) = world.box().out
    assert of(Tell, world.post(HOST, notes=[Withdraw("a", "1", "ann")])) == [Tell("a/0", Cancel(number))]
    world.gone()
    assert [again.deadline for again in delivered(world.up())] == [1]


def test_a_failure_ends_a_stream(world, stream):
    failure = encode(Failure(kind="RemoteError", type="ValueError", message="no"))
    actions = world.post("a/0", part(stream, 1), Letter(FAILURE, stream, "", "", "", failure), acks=[stream])
    assert [one.kind for one in delivered(actions, "b/0")] == [PART, FAILURE]
