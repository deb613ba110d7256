"""The native protocol through Python's `websockets`: another implementation, the same contract.

Needs the server's address in STARLING_URL (http://…), its app in STARLING_KEY and STARLING_SECRET; python.test.mjs starts one.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
import unittest
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = os.environ["STARLING_URL"]
KEY = os.environ["STARLING_KEY"]
SECRET = os.environ["STARLING_SECRET"]
PATIENCE = 15  # seconds


def token(**claims):
    def part(of):
        return base64.urlsafe_b64encode(json.dumps(of).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "typ": "JWT"}) + b"." + part({"exp": int(time.time()) + 600, "iat": int(time.time()), **claims})
    signature = base64.urlsafe_b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + signature).decode()


def api(method, path, body=None):
    request = urllib.request.Request(URL + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        text = answer.read()
        return json.loads(text) if text else None


class Client:
    """One connection; `request` returns the answer, `message` the next message, in between nothing is lost."""

    def __init__(self, socket):
        self.socket = socket
        self.untaken = []
        self.ids = 0

    async def send(self, **message):
        await self.socket.send(json.dumps(message))

    async def next(self, accept):
        for at, message in enumerate(self.untaken):
            if accept(message):
                return self.untaken.pop(at)
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE))
            if accept(message):
                return message
            self.untaken.append(message)

    async def request(self, **message):
        self.ids += 1
        await self.send(**message, id=self.ids)
        return await self.next(lambda answer: answer.get("id") == self.ids and answer["type"] in ("ack", "error", "pong"))

    async def message(self):
        return await self.next(lambda message: message["type"] == "message")


class Native(unittest.IsolatedAsyncioTestCase):
    async def connect(self, user=None, **options):
        headers = {"Authorization": f"Bearer {token(sub=user)}"} if user else {}
        socket = await connect(URL.replace("http", "ws", 1) + "/ws", subprotocols=["starling.v1.json"], additional_headers=headers, **options)
        self.addAsyncCleanup(socket.close)
        self.assertEqual(socket.subprotocol, "starling.v1.json")
        return Client(socket)

    def fresh(self):
        return f"py:{self.id()}:{time.monotonic_ns()}"

    async def test_publish_and_subscribe(self):
        channel = self.fresh()
        ann, bob = await self.connect("ann"), await self.connect("bob")
        self.assertEqual((await ann.next(lambda message: True))["type"], "auth_ack")
        await bob.request(type="subscribe", channel=channel)
        ack = await ann.request(type="publish", channel=channel, payload={"text": "hé 🐦", "big": 9007199254740993})
        message = await bob.message()
        self.assertEqual(message["payload"], {"text": "hé 🐦", "big": 9007199254740993})
        self.assertEqual((message["id"], message["offset"], message["userId"]), (ack["messageId"], 1, "ann"))

    async def test_messages_from_http(self):
        channel = self.fresh()
        client = await self.connect()
        await client.request(type="subscribe", channel=channel)
        result = api("POST", "/api/publish", {"channel": channel, "payload": [1, 2, 3], "event": "http"})
        message = await client.message()
        self.assertEqual((message["event"], message["payload"], message["offset"]), ("http", [1, 2, 3], result["results"][0]["offset"]))

    async def test_recovery(self):
        channel = self.fresh()
        client = await self.connect()
        ack = await client.request(type="subscribe", channel=channel)
        for n in range(5):
            api("POST", "/api/publish", {"channel": channel, "payload": n})
        seen = [await client.message() for _ in range(2)]
        client.socket.transport.abort()
        for n in range(5, 8):
            api("POST", "/api/publish", {"channel": channel, "payload": n})
        again = await self.connect()
        ack = await again.request(type="subscribe", channel=channel, recover={"epoch": ack["epoch"], "offset": seen[-1]["offset"]})
        self.assertTrue(ack["recovered"])
        self.assertEqual([(await again.message())["payload"] for _ in range(6)], [2, 3, 4, 5, 6, 7])

    async def test_presence(self):
        channel = self.fresh()
        ann, bob = await self.connect("ann"), await self.connect("bob")
        await ann.request(type="subscribe", channel=channel, presence=True)
        self.assertEqual((await ann.next(lambda m: m["type"] == "presence_state"))["members"], [])
        await bob.request(type="subscribe", channel=channel, data={"n": 1})
        joined = await ann.next(lambda m: m["type"] == "presence_diff")
        self.assertEqual([(m["userId"], m["data"]) for m in joined["joins"]], [("bob", {"n": 1})])
        await bob.socket.close()
        left = await ann.next(lambda m: m["type"] == "presence_diff")
        self.assertEqual([m["userId"] for m in left["leaves"]], ["bob"])

    async def test_errors(self):
        client = await self.connect()
        self.assertEqual((await client.request(type="nonsense"))["code"], "UNKNOWN_TYPE")
        self.assertEqual((await client.request(type="subscribe", channel=""))["code"], "INVALID_CHANNEL")
        await client.socket.send("not json")
        with self.assertRaises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(client.socket.recv(), PATIENCE)
        self.assertEqual(closed.exception.rcvd.code, 1003)

    async def test_a_bad_token_is_401(self):
        with self.assertRaises(InvalidStatus) as refused:
            await connect(URL.replace("http", "ws", 1) + "/ws", additional_headers={"Authorization": "Bearer nonsense"})
        self.assertEqual(refused.exception.response.status_code, 401)

    async def test_compression(self):
        channel = self.fresh()
        client = await self.connect()  # websockets offers permessage-deflate by default
        self.assertEqual([extension.name for extension in client.socket.protocol.extensions], ["permessage-deflate"])
        await client.request(type="subscribe", channel=channel)
        text = "again and again " * 1000
        for _ in range(3):
            await client.request(type="publish", channel=channel, payload=text)
            self.assertEqual((await client.message())["payload"], text)

    async def test_fragments(self):
        client = await self.connect()

        async def parts():
            for part in ['{"type":', '"ping",', '"id":"f"}']:
                yield part

        await client.socket.send(parts())
        self.assertEqual(await client.next(lambda m: m["type"] == "pong"), {"type": "pong", "id": "f"})

    async def test_ping_frames(self):
        client = await self.connect()
        await asyncio.wait_for(await client.socket.ping(b"are you there"), PATIENCE)

    async def test_many_at_once(self):
        channel = self.fresh()
        clients = [await self.connect() for _ in range(20)]
        for client in clients:
            await client.request(type="subscribe", channel=channel)
        for n in range(50):
            await clients[n % 20].send(type="publish", channel=channel, payload=n)
        orders = [[(await client.message())["offset"] for _ in range(50)] for client in clients]
        self.assertEqual(orders, [list(range(1, 51))] * 20)


if __name__ == "__main__":
    unittest.main(verbosity=1)
