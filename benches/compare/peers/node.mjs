#!/usr/bin/env node
// The hub with Node's own `http`: no framework, each event encoded once, the events of one turn of the loop
// written at once, and one timer for all heartbeats.

import { createServer } from "node:http";

const topics = new Map();

function subscribe(topic, request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  if (!topics.has(topic)) topics.set(topic, { streams: new Set(), events: [] });
  const { streams } = topics.get(topic);
  streams.add(response);
  response.on("close", () => streams.delete(response));
}

async function publish(topic, request, response) {
  let data = "";
  request.setEncoding("utf8");
  for await (const piece of request) data += piece;
  response.writeHead(204).end();
  const found = topics.get(topic);
  if (!found) return;
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  if (found.events.push(`${lines.join("")}\n`) === 1) setImmediate(flush, found);
}

function flush(topic) {
  const events = Buffer.from(topic.events.join(""));
  topic.events = [];
  for (const stream of topic.streams) stream.write(events);
}

const server = createServer({ noDelay: true }, (request, response) => {
  const [, action, topic] = request.url.split("/");
  if (request.method === "GET" && action === "events") subscribe(topic, request, response);
  else if (request.method === "POST" && action === "publish") publish(topic, request, response);
  else response.writeHead(404).end();
});

setInterval(() => {
  for (const { streams } of topics.values()) for (const stream of streams) stream.write(":\n\n");
}, 15_000);

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT ?? 0), backlog: 4096 }, () => {
  console.log(`node: http://127.0.0.1:${server.address().port}`);
});
