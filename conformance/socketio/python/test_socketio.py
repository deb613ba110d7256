"""The Python client of Socket.IO against a running server: STARLING_URL, STARLING_TOKEN."""

import os
import queue
import unittest

import socketio

URL = os.environ["STARLING_URL"]
TOKEN = os.environ["STARLING_TOKEN"]
WITHIN = 30


class Client:
    """A client that keeps what arrives under each name."""

    def __init__(self, transports, namespace="/", **options):
        self.namespace = namespace
        self.events = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("*", lambda event, *args: self.events.put((event, args)), namespace=namespace)
        self.client.on("message", lambda *args: self.events.put(("message", args)), namespace=namespace)
        self.client.connect(URL, transports=transports, namespaces=[namespace], wait_timeout=WITHIN, **options)

    def ask(self, event, *args):
        return self.client.call(event, args, namespace=self.namespace, timeout=WITHIN)

    def next(self, event):
        while True:
            name, args = self.events.get(timeout=WITHIN)
            if name == event:
                return args

    def close(self):
        self.client.disconnect()


class Transports:
    transports = None

    def setUp(self):
        self.clients = []

    def tearDown(self):
        for client in self.clients:
            client.close()

    def connect(self, *args, **options):
        client = Client(self.transports, *args, **options)
        self.clients.append(client)
        return client

    def room(self, name):
        return f"{'-'.join(self.transports)}-{name}"

    def test_rooms(self):
        room = self.room("rooms")
        one, two = self.connect(), self.connect("/chat")
        self.assertEqual(one.ask("subscribe", room)["channel"], room)
        self.assertTrue(two.ask("subscribe", room)["ok"])
        self.assertEqual(one.ask("publish", room, "move", {"x": 1.5, "name": "é"})["offset"], 1)
        self.assertTrue(two.ask("publish", room, "move", "in chat")["ok"])
        payload, meta, offset = one.next("move")
        self.assertEqual((payload, meta["channel"], meta["offset"]), ({"x": 1.5, "name": "é"}, room, 1))
        self.assertTrue(offset.endswith(":1"))
        self.assertEqual(two.next("move")[0], "in chat")

    def test_binary(self):
        room = self.room("binary")
        client = self.connect()
        client.ask("subscribe", room)
        data = bytes(range(256))
        client.ask("publish", room, "blob", data)
        client.ask("publish", room, "blob", {"é": [data, b""]})
        self.assertEqual(client.next("blob")[0], data)
        self.assertEqual(client.next("blob")[0], {"é": [data, b""]})

    def test_authentication(self):
        client = self.connect(auth={"token": TOKEN})
        room = self.room("users")
        client.ask("subscribe", room)
        client.ask("publish", room, "message", 1)
        self.assertEqual(client.next("message")[1]["userId"], "python")
        with self.assertRaises(socketio.exceptions.ConnectionError):
            self.connect(auth={"token": "wrong"})

    def test_refusals(self):
        client = self.connect()
        self.assertEqual(client.ask("subscribe", "")["error"]["code"], "INVALID_CHANNEL")
        self.assertEqual(client.ask("nothing")["error"]["code"], "UNKNOWN_TYPE")


class WebSocket(Transports, unittest.TestCase):
    transports = ["websocket"]


class Polling(Transports, unittest.TestCase):
    transports = ["polling"]


class Upgrade(Transports, unittest.TestCase):
    transports = ["polling", "websocket"]


if __name__ == "__main__":
    unittest.main()
