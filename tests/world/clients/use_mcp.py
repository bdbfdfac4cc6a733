"""A session with an MCP server, by the official package, as lines of JSON: a name and a value each.

The argument is the URL. It asks for the newest revision of the protocol first, and takes an older one.
"""

import asyncio
import json
import sys

from mcp import Client

(url,) = sys.argv[1:]


def say(name, value):
    print(json.dumps([name, value]), flush=True)


async def progress(count, total, _message):
    say("progress", [count, total])


async def main():
    async with Client(url, mode="auto") as client:
        say("connected", client.protocol_version)
        say("tools", [tool.name for tool in (await client.list_tools()).tools])
        for name, arguments in [("add", {"a": 19, "b": 23}), ("add", {"a": "x"}), ("count", {"to": 12})]:
            result = await client.call_tool(name, arguments, progress_callback=progress)
            say(name, [result.content[0].text, result.is_error])


asyncio.run(main())
