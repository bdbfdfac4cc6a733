"""Reads a stream several times at once, as lines of JSON, as readers.mjs does. The arguments are "requests",
"httpx", "aiohttp", "http.client" or "curl", the URL, and when readers begin.
"""

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.parse

import aiohttp
import httpx
import requests

# A reader yields an empty line once the stream is open, and then the lines of the body.


def with_requests(url, headers):
    with requests.get(url, headers=headers, stream=True) as response:
        yield ""
        yield from response.iter_lines(decode_unicode=True)


def with_httpx(url, headers):
    with httpx.stream("GET", url, headers=headers, timeout=None) as response:
        yield ""
        yield from response.iter_lines()


async def lines_of_aiohttp(url, headers):
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as response:
        yield ""
        async for line in response.content:
            yield line.decode().rstrip("\n")


def with_aiohttp(url, headers):
    loop = asyncio.new_event_loop()
    lines = lines_of_aiohttp(url, headers)
    try:
        while True:
            yield loop.run_until_complete(anext(lines))
    except StopAsyncIteration:
        pass
    finally:
        loop.run_until_complete(lines.aclose())
        loop.close()


def with_http_client(url, headers):
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(parts.netloc)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        response = connection.getresponse()
        yield ""
        while line := response.readline():
            yield line.decode().rstrip("\n")
    finally:
        connection.close()


def with_curl(url, headers):
    own = (f"-H{name}: {value}" for name, value in headers.items())
    command = ["curl", "-sNi", "--compressed", *own, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = (line.rstrip("\n") for line in process.stdout)
        # The head ends with an empty line.
        yield from (line for line in lines if not line or line.startswith(("id: ", "data: ")))
    if process.returncode != 0:
        raise RuntimeError(f"curl: {process.returncode}")


kind, url, joins = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
read_with = {
    "requests": with_requests,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "http.client": with_http_client,
    "curl": with_curl,
}[kind]
# The errors of requests are such of the system.
ERRORS = (OSError, httpx.HTTPError, aiohttp.ClientError, http.client.HTTPException, RuntimeError)
output = threading.Lock()


def say(*line):
    with output:
        print(json.dumps(line), flush=True)


def read(reader):
    headers, got = {}, 0
    while True:
        try:
            is_open = False
            for line in read_with(f"{url}?reader={reader}", headers):
                if not is_open:
                    is_open = True
                    say(reader, "open", "")
                if line.startswith("id: "):
                    headers["Last-Event-ID"] = line[4:]
                if line.startswith("data: "):
                    say(reader, "event", line[6:])
                    got += 1
                    for other in (other for other, count in enumerate(joins) if reader == 0 and count == got):
                        threading.Thread(target=read, args=(other,)).start()
            say(reader, "end", "")
        except ERRORS as error:
            say(reader, "error", repr(error))
        time.sleep(0.02)


read(0)
