"""Ray: a worker process per actor, calls over gRPC, results through its object store; a tell asks for no result. Loopback, no dashboard."""

import os
import signal
from collections import deque
from time import perf_counter
from typing import Any

import ray
from loops import FAN, RESTART, Tally, Told, echoed, in_turn, outstanding, told
from messages import Job, Question, question


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Worker:
    def __init__(self) -> None:
        self.count = 0

    def question(self, message: Question) -> int:
        return message.id

    def job(self, message: Job) -> None:
        self.count += 1

    def counted(self) -> int:
        count, self.count = self.count, 0
        return count

    def large(self, data: bytes) -> bytes:
        return data

    def pid(self) -> int:
        return os.getpid()

    def around(self, other: Any, seconds: float) -> list[int]:
        return in_turn(lambda message: ray.get(other.question.remote(message)), seconds)


class Peer:
    def start(self) -> str:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            num_cpus=os.cpu_count(),
            object_store_memory=256 << 20,
            _node_ip_address="127.0.0.1",
            _temp_dir=os.environ["TMPDIR"],
        )
        self.workers = [Worker.remote() for _ in range(FAN)]
        ray.get([worker.pid.remote() for worker in self.workers])
        return ray.__version__

    def ask(self, seconds: float) -> list[int]:
        first = self.workers[0]
        return in_turn(lambda message: ray.get(first.question.remote(message)), seconds)

    def asks(self, seconds: float) -> Tally:
        first, answers = self.workers[0], deque[Any]()
        return outstanding(
            lambda message: answers.append(first.question.remote(message)), lambda: ray.get(answers.popleft()), seconds
        )

    def tells(self, to: int, seconds: float) -> Told:
        workers = self.workers[:to]
        tells = [worker.job.options(num_returns=0).remote for worker in workers]
        return told(tells, lambda: sum(ray.get([worker.counted.remote() for worker in workers])), seconds)

    def between(self, seconds: float) -> list[int]:
        return list(ray.get(self.workers[0].around.remote(self.workers[1], seconds)))

    def echo(self, seconds: float) -> Tally:
        first = self.workers[0]
        return echoed(lambda data: ray.get(first.large.remote(data)), seconds)

    def spawn(self, count: int) -> float:
        start = perf_counter()
        more = [Worker.remote() for _ in range(count)]
        ray.get([worker.question.remote(question(0)) for worker in more])
        taken = perf_counter() - start
        self.workers += more
        return taken

    def kill(self) -> float:
        first = self.workers[0]
        old = ray.get(first.pid.remote())
        start = perf_counter()
        os.kill(old, signal.SIGKILL)
        while ray.get(first.pid.remote(), timeout=RESTART) == old:
            pass
        return perf_counter() - start

    def stop(self) -> None:
        ray.shutdown()
