"""The official Python SDK against a running server. Started by api.test.mjs."""

import hashlib
import hmac
import json
import os
import time

import pusher
from pusher.errors import PusherBadAuth, PusherBadRequest

KEY, SECRET = os.environ["PUSHER_KEY"], os.environ["PUSHER_SECRET"]
OPTIONS = {"app_id": "1", "key": KEY, "host": "127.0.0.1", "port": int(os.environ["STARLING_PORT"]), "ssl": False}


def refused(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} did not come")


client = pusher.Pusher(secret=SECRET, **OPTIONS)
assert client.trigger("python", "event", {"text": "über", "n": [1, None]}) == {}
assert client.trigger(["python", "python2"], "event", "text", socket_id="123.456") == {}
assert client.trigger_batch([{"channel": "python", "name": "a", "data": {}}, {"channel": "python2", "name": "b", "data": "x"}]) == {}
assert client.channels_info()["channels"] == {} or isinstance(client.channels_info()["channels"], dict)
assert client.channel_info("python") == {"occupied": False}
assert client.channel_info("presence-python", ["user_count"]) == {"occupied": False, "user_count": 0}
assert client.users_info("presence-python") == {"users": []}
assert client.send_to_user("ann", "note", {"n": 1}) == {}
assert client.terminate_user_connections("ann") == {}
assert len(client.trigger(["presence-python"], "event", 1)) == 0
refused(PusherBadAuth, lambda: pusher.Pusher(secret="wrong", **OPTIONS).trigger("python", "event", 1))
refused(PusherBadRequest, lambda: client.trigger("python", "pusher:event", 1))

body = json.dumps({"time_ms": int(time.time() * 1000), "events": [{"name": "channel_occupied", "channel": "a"}]})
signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
assert client.validate_webhook(KEY, signature, body)["events"][0]["channel"] == "a"
assert client.validate_webhook(KEY, "0" * 64, body) is None
print("all checks passed")
