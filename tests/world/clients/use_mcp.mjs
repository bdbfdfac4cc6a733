// A whole session with an MCP server, by the official package. It prints lines of JSON: a name and a value
// each. Argument: the URL. "asked" is a request of the package: the method, Last-Event-ID and the status.
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ToolListChangedNotificationSchema } = require("@modelcontextprotocol/sdk/types.js");
const [url] = process.argv.slice(2);
const say = (name, value) => console.log(JSON.stringify([name, value]));

let listens;
const listening = new Promise((resolve) => (listens = resolve));
const transport = new StreamableHTTPClientTransport(new URL(url), {
  async fetch(url, init) {
    const reply = await fetch(url, init);
    say("asked", [init.method, new Headers(init.headers).get("last-event-id"), reply.status]);
    if (init.method === "GET") listens();
    return reply;
  },
  // Its own two are too few for a long outage.
  reconnectionOptions: {
    initialReconnectionDelay: 1000, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1, maxRetries: 100,
  },
});
const client = new Client({ name: "test", version: "1" });
client.onerror = (error) => say("error", String(error));
const tools = async () => (await client.listTools()).tools.map((tool) => tool.name);
let told;
client.setNotificationHandler(ToolListChangedNotificationSchema, async () => told(await tools()));
const text = ({ content, isError }) => (isError ? "error: " : "") + content[0].text;

const call = async (name, args, options) => text(await client.callTool({ name, arguments: args }, undefined, options));

async function count(to) {
  const onprogress = ({ progress, total }) => say("progress", [progress, total]);
  const onresumptiontoken = (id) => say("id", id);
  say("count", await call("count", { to }, { onprogress, onresumptiontoken }));
}

/** Switches the lamp, and waits until the server reports that its tools have changed. */
async function switchAndHear(name) {
  const changed = new Promise((resolve) => (told = resolve));
  say(name, await call(name, {}));
  say("changed", await changed);
}

await client.connect(transport);
const { sessionId } = transport;
say("connected", [client.getServerVersion().name, transport.protocolVersion, sessionId.length]);
say("tools", await tools());
say("add", await call("add", { a: 19, b: 23 }));
say("add", await call("add", { a: "x" }));
await listening;
await switchAndHear("turn_on");
await count(12);
await count(5);
await switchAndHear("turn_off");
await client.ping();
await transport.terminateSession();
const headers = { "mcp-session-id": sessionId };
say("ended", (await fetch(url, { method: "DELETE", headers })).status);
await client.close();
