"""Phoenix Channels from Python: a published client for what it does, frames for the rest.

The published client only listens, and takes only what a server pushes to it: frames that are broadcast, whose join_ref is
null with a real server as well, it drops.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import struct
import time
import unittest

import websockets
from phoenix_channels_python_client import PHXChannelsClient

URL = os.environ["STARLING_URL"]
SECRET = os.environ["STARLING_SECRET"]
SOCKET = URL.replace("http", "ws", 1) + "/socket/websocket"
PATIENCE = 20


def token(user, **claims):
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"sub": user, "iat": int(time.time()), "exp": int(time.time()) + 3600, **claims}
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(claims).encode())
    return (signed + b"." + encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest())).decode()


class Frames:
    """A client of serializer 2.0.0 on a bare WebSocket."""

    def __init__(self, socket):
        self.socket, self.ref = socket, 0

    @classmethod
    async def open(cls, query="?vsn=2.0.0", **options):
        return cls(await websockets.connect(SOCKET + query, **options))

    async def push(self, topic, event, payload, join_ref=None):
        self.ref += 1
        ref = str(self.ref)
        await self.socket.send(json.dumps([join_ref or ref, ref, topic, event, payload]))
        return ref

    async def next(self):
        frame = await asyncio.wait_for(self.socket.recv(), PATIENCE)
        return frame if isinstance(frame, bytes) else json.loads(frame)

    async def until(self, matches):
        while True:
            frame = await self.next()
            if matches(frame):
                return frame

    async def reply(self, ref):
        frame = await self.until(lambda it: not isinstance(it, bytes) and it[3] == "phx_reply" and it[1] == ref)
        return frame[4]["status"], frame[4]["response"]

    async def join(self, topic, payload=None):
        return await self.reply(await self.push(topic, "phx_join", payload or {}))


class PublishedClient(unittest.IsolatedAsyncioTestCase):
    async def test_joins_and_hears(self):
        heard = asyncio.Queue()
        async with PHXChannelsClient(f"{SOCKET}?token={token('py')}", "unused") as client:
            await client.subscribe_to_topic("room:py-1", heard.put)
            self.assertTrue(client.is_topic_joined("room:py-1"))
            message = await asyncio.wait_for(heard.get(), PATIENCE)
            self.assertEqual((str(message.event), message.payload), ("presence_state", {}))
            await client.unsubscribe_from_topic("room:py-1")

    async def test_is_refused_what_it_may_not_join(self):
        async with PHXChannelsClient(SOCKET, "unused") as client:
            with self.assertRaises(Exception) as refused:
                await client.subscribe_to_topic("users:py")
            self.assertIn("authenticated user", str(refused.exception))

    async def test_is_refused_with_a_bad_token(self):
        with self.assertRaises(Exception) as refused:
            async with PHXChannelsClient(f"{SOCKET}?token=bad", "unused", auto_reconnect=False):
                pass
        self.assertIn("403", str(refused.exception))

    async def test_comes_back_when_its_socket_is_lost(self):
        back = asyncio.Event()

        async def on_reconnect():
            back.set()

        heard = asyncio.Queue()
        async with PHXChannelsClient(SOCKET, "unused", on_reconnect=on_reconnect) as client:
            await client.subscribe_to_topic("room:py-2", heard.put)
            client.connection.transport.abort()
            await asyncio.wait_for(back.wait(), PATIENCE)
            for _ in range(2):
                message = await asyncio.wait_for(heard.get(), PATIENCE)
                self.assertEqual(str(message.event), "presence_state")


class BareFrames(unittest.IsolatedAsyncioTestCase):
    async def test_pushes_are_replied_to_and_broadcast(self):
        one, two = await Frames.open(), await Frames.open()
        for client in (one, two):
            self.assertEqual(await client.join("room:py-3"), ("ok", {}))
        ref = await one.push("room:py-3", "say", {"n": 12345678901234567890}, "1")
        self.assertEqual(await one.reply(ref), ("ok", {}))
        frame = await two.until(lambda it: it[3] == "say")
        self.assertEqual(frame, [None, None, "room:py-3", "say", {"n": 12345678901234567890}])
        for client in (one, two):
            await client.socket.close()

    async def test_bytes(self):
        client = await Frames.open()
        await client.join("room:py-4")
        names = (b"1", b"9", b"room:py-4", b"blob")
        await client.socket.send(struct.pack("5B", 0, *map(len, names)) + b"".join(names) + b"\x00\xff")
        frame = await client.until(lambda it: isinstance(it, bytes))
        self.assertEqual(frame, b"\x02\x09\x04room:py-4blob\x00\xff")
        self.assertEqual((await client.until(lambda it: it[3] == "phx_reply"))[1], "9")
        await client.socket.close()

    async def test_presence(self):
        one = await Frames.open(f"?vsn=2.0.0&token={token('ann', info={'from': 'python'})}")
        two = await Frames.open(f"?vsn=2.0.0&token={token('bob')}")
        await one.join("room:py-5")
        await two.join("room:py-5")
        state = (await two.until(lambda it: it[3] == "presence_state"))[4]
        self.assertEqual(state["ann"]["metas"][0]["from"], "python")
        diff = (await one.until(lambda it: it[3] == "presence_diff" and "bob" in it[4]["joins"]))[4]
        ref = diff["joins"]["bob"]["metas"][0]["phx_ref"]
        await two.socket.close()
        diff = (await one.until(lambda it: it[3] == "presence_diff" and "bob" in it[4]["leaves"]))[4]
        self.assertEqual(diff["leaves"]["bob"]["metas"][0]["phx_ref"], ref)
        await one.socket.close()

    async def test_the_auth_token_subprotocol(self):
        encoded = base64.b64encode(token("cid").encode()).decode().rstrip("=")
        client = await Frames.open(subprotocols=["phoenix", f"base64url.bearer.phx.{encoded}"])
        self.assertEqual(client.socket.subprotocol, "phoenix")
        self.assertEqual((await client.join("users:py"))[0], "ok")
        await client.socket.close()

    async def test_what_is_no_message_closes(self):
        client = await Frames.open()
        await client.socket.send("not JSON")
        with self.assertRaises(websockets.ConnectionClosed) as closed:
            await client.next()
        self.assertEqual(closed.exception.rcvd.code, 1011)


if __name__ == "__main__":
    unittest.main()
