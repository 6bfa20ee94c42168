"""Measures objects on their way from one process to another, by stream or by the broker itself.

The arguments are the side, what of a redis-server carries messages (``list`` or ``channel``), its
port, and a topic. The same file runs in the environment of this repository and in that of the
older system. Started with ``--consumer`` it is the other process.
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
    """Objects pickled into a list or channel of Redis, and out of it."""

    def __init__(self, carrier, port, topic):
        import redis

        # Of protocol 3 redis-py formats each message for its log, which would flatter us.
        self._client = redis.Redis(_HOST, port, protocol=2)
        self._carrier, self._topic = carrier, topic

    def open_producer(self):
        # By default a channel closes on who is 32 MB behind.
        self._client.config_set("client-output-buffer-limit", "pubsub 0 0 0")

    def open_consumer(self):
        if self._carrier == "channel":
            self._channel = self._client.pubsub()
            self._channel.subscribe(self._topic)
            self._channel.get_message(timeout=10)

    def send(self, obj):
        send = self._client.rpush if self._carrier == "list" else self._client.publish
        send(self._topic, pickle.dumps(obj, protocol=5))

    def receive(self):
        if self._carrier == "list":
            return pickle.loads(self._client.blpop(self._topic)[1])
        return pickle.loads(next(self._channel.listen())["data"])


class Ours:
    """A stream with events in a list or channel of Redis, and objects in shared memory."""

    def __init__(self, carrier, port, topic):
        self._kind = "Queue" if carrier == "list" else ""
        self._place, self._topic = (_HOST, port), topic

    def open_producer(self):
        from proxystore.store import Store
        from proxystore_patterns.streams import StreamProducer
        from proxystore_patterns.streams.brokers import redis

        publisher = getattr(redis, f"Redis{self._kind}Publisher")(*self._place)
        self._producer = StreamProducer(publisher, default_store=Store(self._topic))

    def open_consumer(self):
        from proxystore_patterns.streams import StreamConsumer
        from proxystore_patterns.streams.brokers import redis

        subscriber = getattr(redis, f"Redis{self._kind}Subscriber")(*self._place, self._topic)
        self._consumer = StreamConsumer(subscriber)

    def send(self, obj):
        self._producer.send(self._topic, obj)

    def receive(self):
        return self._consumer.next_object()


class Older(Ours):
    """The same of the older system, whose objects are files in shared memory."""

    def open_producer(self):
        from proxystore.connectors.file import FileConnector
        from proxystore.store import Store
        from proxystore.stream import StreamProducer
        from proxystore.stream.shims import redis

        folder = tempfile.mkdtemp(dir="/dev/shm", prefix="older-streams-")
        self._store = Store(self._topic, FileConnector(folder), register=True)
        publisher = getattr(redis, f"Redis{self._kind}Publisher")(*self._place)
        self._producer = StreamProducer(publisher, default_store=self._store)

    def open_consumer(self):
        from proxystore.stream import StreamConsumer
        from proxystore.stream.shims import redis

        subscriber = getattr(redis, f"Redis{self._kind}Subscriber")(*self._place, self._topic)
        self._consumer = StreamConsumer(subscriber)

    def send(self, obj):
        self._producer.send(self._topic, obj)
        self._producer.flush()


_SIDES = {"plain": Plain, "ours": Ours, "older": Older}


def consume(side):
    """Receive for ever; say each time when the object was there."""
    side.open_consumer()
    while True:
        sys.stdout.write("there\n")
        sys.stdout.flush()
        obj = side.receive()
        obj[0]


def main():
    """Send what is asked for, and say how long it took."""
    name, carrier, port, topic = sys.argv[1:5]
    side = _SIDES[name](carrier, int(port), topic)
    if sys.argv[-1] == "--consumer":
        return consume(side)
    command = [sys.executable, *sys.flags.isolated * ["-I"], *sys.argv, "--consumer"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    other.stdout.readline()
    side.open_producer()
    try:
        for line in sys.stdin:
            request = json.loads(line)
            obj = np.random.default_rng(0).random(request["nbytes"] // 8)
            seconds = []
            for _ in range(request["n"]):
                start = time.perf_counter()
                side.send(obj)
                other.stdout.readline()
                seconds.append(time.perf_counter() - start)
            print(json.dumps({"seconds": seconds}), flush=True)
    finally:
        other.kill()
        other.wait()
        with contextlib.suppress(AttributeError):
            side._store.close(clear=True)


if __name__ == "__main__":
    main()
