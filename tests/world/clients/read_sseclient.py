"""What the package `sseclient-py` makes of a stream, as lines of JSON: URL, and the name of the event that ends it.

It does not reconnect, so this does, with the id that it has told.
"""

import json
import sys

import requests
from sseclient import SSEClient

url, end = sys.argv[1:]
last = None
id = ""
while last != end:
    headers = {"Accept": "text/event-stream"}
    if id:
        headers["Last-Event-ID"] = id.encode()
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        for event in SSEClient(response).events():
            print(json.dumps({"event": event.event, "data": event.data, "id": event.id or ""}), flush=True)
            last, id = event.event, event.id or id
            if last == end:
                break
