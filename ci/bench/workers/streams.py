"""Measures objects on their way from one process to another, by stream or by the broker itself.

The first argument is the side, the second the port of a redis-server, the third a topic. The
same file runs in the environment of this repository and in that of the older system. Started
with ``--consumer`` it is the other process.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys
import tempfile
import time

import numpy as np

_HOST = "127.0.0.1"


class Plain:
    """Objects pickled into a list of Redis, and out of it."""

    def __init__(self, port, topic):
        import redis

        self._client, self._topic = redis.Redis(_HOST, port), topic

    def send(self, obj):
        self._client.rpush(self._topic, pickle.dumps(obj, protocol=5))

    def receive(self):
        return pickle.loads(self._client.blpop(self._topic)[1])


class Ours:
    """A stream with events in a list of Redis, and objects in shared memory."""

    def __init__(self, port, topic):
        self._place, self._topic = (_HOST, port), topic
        self._producer = self._consumer = None

    def send(self, obj):
        if self._producer is None:
            from proxystore.store import Store
            from proxystore_patterns.streams import StreamProducer
            from proxystore_patterns.streams.brokers.redis import RedisQueuePublisher

            publisher = RedisQueuePublisher(*self._place)
            self._producer = StreamProducer(publisher, default_store=Store(self._topic))
        self._producer.send(self._topic, obj)

    def receive(self):
        if self._consumer is None:
            from proxystore_patterns.streams import StreamConsumer
            from proxystore_patterns.streams.brokers.redis import RedisQueueSubscriber

            self._consumer = StreamConsumer(RedisQueueSubscriber(*self._place, self._topic))
        return self._consumer.next_object()


class Older(Ours):
    """The same of the older system, whose objects are files in shared memory."""

    def send(self, obj):
        if self._producer is None:
            from proxystore.connectors.file import FileConnector
            from proxystore.store import Store
            from proxystore.stream import StreamProducer
            from proxystore.stream.shims.redis import RedisQueuePublisher

            folder = tempfile.mkdtemp(dir="/dev/shm", prefix="older-streams-")
            self._store = Store(self._topic, FileConnector(folder), register=True)
            self._producer = StreamProducer(
                RedisQueuePublisher(*self._place), default_store=self._store
            )
        self._producer.send(self._topic, obj)
        self._producer.flush()

    def receive(self):
        if self._consumer is None:
            from proxystore.stream import StreamConsumer
            from proxystore.stream.shims.redis import RedisQueueSubscriber

            self._consumer = StreamConsumer(RedisQueueSubscriber(*self._place, self._topic))
        return self._consumer.next_object()




_SIDES = {"plain": Plain, "ours": Ours, "older": Older}


def consume(side, port, topic):
    """Receive for ever; say each time when the object was there."""
    received = _SIDES[side](port, topic)
    while True:
        obj = received.receive()
        first = obj[0]
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()


def main():
    """Send what is asked for, and say how long it took."""
    side, port, topic = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if sys.argv[-1] == "--consumer":
        return consume(side, port, topic)
    command = [sys.executable, *sys.flags.isolated * ["-I"], *sys.argv, "--consumer"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sender = _SIDES[side](port, topic)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            obj = np.random.default_rng(0).random(request["nbytes"] // 8)
            seconds = []
            for _ in range(request["n"]):
                start = time.perf_counter()
                sender.send(obj)
                other.stdout.readline()
                seconds.append(time.perf_counter() - start)
            print(json.dumps({"seconds": seconds}), flush=True)
    finally:
        other.kill()
        other.wait()
        with contextlib.suppress(AttributeError):
            sender._store.close(clear=True)


if __name__ == "__main__":
    main()
