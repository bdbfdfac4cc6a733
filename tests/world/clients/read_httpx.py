"""What the package `httpx-sse` makes of a stream, as lines of JSON: URL, and the name of the event that ends it.

It does not reconnect, so this does, with the id that it has told.
"""

import json
import sys

import httpx
from httpx_sse import connect_sse

url, end = sys.argv[1:]
last = None
id = ""
with httpx.Client(timeout=30) as client:
    while last != end:
        # As bytes, since headers in httpx are ASCII, and in the standard UTF-8.
        headers = {"Last-Event-ID": id.encode()} if id else {}
        with connect_sse(client, "GET", url, headers=headers) as source:
            for event in source.iter_sse():
                print(json.dumps({"event": event.event, "data": event.data, "id": event.id}), flush=True)
                last, id = event.event, event.id
                if last == end:
                    break
