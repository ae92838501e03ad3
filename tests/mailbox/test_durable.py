"""Mailboxes on disk, without a disk: what is routed when, and what is confirmed when."""

import pytest

from actorsys.mailbox.durable import Store
from actorsys.mailbox.letter import ASK, HOST, REPLY, TELL, Frame, Letter
from actorsys.mailbox.switchboard import Switchboard
from actorsys.mailbox.traffic import Close, Confirm, Deliver, Gone, Open, Posted, Stored, Up
from actorsys.spec import MailboxSpec

DISK = MailboxSpec(durability="disk")


@pytest.fixture
def board():
    board = Switchboard()
    board.handle(Open("a/0", DISK, ("a", "a/0"), "a"), 0)
    board.handle(Open("b/0", MailboxSpec(), ("b", "b/0"), "b"), 0)
    board.handle(Up("a/0"), 0)
    board.handle(Up("b/0"), 0)
    return board


def letter(kind, number=0, to="a"):
    return Letter(kind, number, to, "", "T", b"\xc0")


def post(board, *letters, source=HOST, number=0, acks=()):
    return board.handle(Posted(source, Frame(list(acks), list(letters), [], number)), 0)


def of(kind, actions):
    return [action for action in actions if isinstance(action, kind)]


def test_a_tell_is_routed_and_confirmed_only_when_it_is_stored(board):
    actions = post(board, letter(TELL), number=7)
    (store,) = of(Store, actions)
    assert [name for name, _ in store.added] == ["a/0"]
    assert not of(Deliver, actions)
    assert not of(Confirm, actions)
    assert board.boxes["a/0"].depth == 1
    actions = board.handle(Stored(store.number), 0)
    assert [len(action.letters) for action in of(Deliver, actions)] == [1]
    assert of(Confirm, actions) == [Confirm(HOST, 7)]


def test_an_ask_is_not_stored_but_waits_for_the_tells_before_it(board):
    post(board, letter(TELL))
    actions = post(board, letter(ASK, 1))
    assert actions == []
    (deliver,) = of(Deliver, board.handle(Stored(1), 0))
    assert [sent.kind for sent in deliver.letters] == [TELL, ASK]
    assert of(Deliver, post(board, letter(ASK, 2)))[0].letters[0].kind == ASK


def test_what_a_frame_sends_and_acknowledges_is_stored_in_one_batch(board):
    post(board, letter(TELL))
    ((first,),) = [action.letters for action in of(Deliver, board.handle(Stored(1), 0))]
    actions = post(board, letter(TELL), source="a/0", number=3, acks=[first.id])
    (store,) = of(Store, actions)
    assert (len(store.added), store.removed) == (1, [first.id])
    assert of(Confirm, board.handle(Stored(store.number), 0)) == [Confirm("a/0", 3)]


def test_a_frame_that_only_acknowledges_is_confirmed_when_that_is_stored(board):
    """Otherwise the agent forgets its own record too early, and handles the message again after a kill."""
    post(board, letter(TELL))
    ((first,),) = [action.letters for action in of(Deliver, board.handle(Stored(1), 0))]
    actions = post(board, source="a/0", number=3, acks=[first.id])
    (store,) = of(Store, actions)
    assert not of(Confirm, actions)
    assert of(Confirm, board.handle(Stored(store.number), 0)) == [Confirm("a/0", 3)]


def test_mail_in_memory_does_not_wait_for_the_disk(board):
    post(board, letter(TELL))
    actions = post(board, letter(TELL, to="b"), number=9)
    assert of(Deliver, actions)
    assert of(Confirm, actions) == [Confirm(HOST, 9)]


def test_a_charged_death_is_stored(board):
    post(board, letter(TELL))
    ((first,),) = [action.letters for action in of(Deliver, board.handle(Stored(1), 0))]
    (store,) = of(Store, board.handle(Gone("a/0", "killed by SIGKILL", charge=True), 0))
    assert store.charged == [(first.id, 1)]


def test_a_cancelled_ask_that_waits_is_taken_back(board):
    from actorsys.mailbox.letter import Forget

    post(board, letter(TELL))
    post(board, letter(ASK, 5))
    board.handle(Posted(HOST, Frame(notes=[Forget(5)])), 0)
    (deliver,) = of(Deliver, board.handle(Stored(1), 0))
    assert [sent.kind for sent in deliver.letters] == [TELL]


def test_what_a_closed_mailbox_held_is_dead_or_answered_and_deleted(board):
    post(board, letter(TELL))
    post(board, letter(ASK, 5))
    actions = board.handle(Close("a/0", "a has failed"), 0)
    assert [action.to for action in of(Deliver, actions)] == [HOST]
    assert len(board.dead_letters) == 1
    (store,) = of(Store, actions)
    assert len(store.removed) == 1
    assert board.boxes["a/0"].depth == 0


def test_what_was_on_disk_is_delivered_first_and_in_order(board):
    old = tuple(Letter(TELL, number, "c", "x", "T", b"\xc0") for number in (4, 9))
    board.begin_ids(100)
    board.handle(Open("c/0", DISK, ("c", "c/0"), "c", old), 0)
    post(board, letter(TELL, to="c"))
    assert [[sent.id for sent in action.letters] for action in of(Deliver, board.handle(Up("c/0"), 0))] == [[4]]
    board.handle(Stored(1), 0)
    assert of(Deliver, post(board, source="c/0", acks=[4]))[0].letters[0].id == 9
    assert of(Deliver, post(board, source="c/0", acks=[9]))[0].letters[0].id >= 100


def test_a_frame_sent_again_acknowledges_what_was_on_disk(board):
    board.handle(Open("c/0", DISK, ("c", "c/0"), "c", (Letter(TELL, 4, "c", "x", "T", b"\xc0"),), 17), 0)
    assert board.boxes["c/0"].last_frame == 17
    (store,) = of(Store, post(board, source="c/0", acks=[4], number=18))
    assert (store.removed, store.taken) == ([4], [("c/0", 18)])


def test_a_reply_from_a_disk_agent_is_not_held_up(board):
    ((ask,),) = [action.letters for action in of(Deliver, post(board, letter(ASK, 1)))]
    actions = post(board, Letter(REPLY, ask.id, "", "", "", b"\xc0"), source="a/0", acks=[ask.id])
    assert of(Deliver, actions)[0].to == HOST
    assert not of(Store, actions)
