"""Which server is tried next."""

from actorsys.bus.nats_pool import Pool, Target


def test_the_server_used_last_is_tried_last() -> None:
    pool = Pool(("nats://a:1", "nats://b:1", "nats://c:1"))
    pool.learn("nats://b:1", [])
    assert [target.url for target in pool.round()] == ["nats://c:1", "nats://a:1", "nats://b:1"]


def test_servers_of_the_cluster_are_learned_once_with_login_and_name() -> None:
    pool = Pool(("nats://me:pw@host:4222",))
    others = [("nats://10.0.0.2:4222", "host"), ("nats://other:4222", "host"), ("nats://host:4222", "host")]
    for _ in range(2):
        pool.learn("nats://me:pw@host:4222", others)
    assert pool.round() == [
        Target("nats://me:pw@10.0.0.2:4222", "host"),
        Target("nats://me:pw@other:4222"),
        Target("nats://me:pw@host:4222"),
    ]


def test_the_pool_is_bounded() -> None:
    pool = Pool(("nats://a:1",))
    pool.learn("nats://a:1", [(f"nats://h{number}:1", "a") for number in range(1000)])
    assert len(pool) == 64
