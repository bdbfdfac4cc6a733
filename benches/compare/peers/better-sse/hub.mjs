#!/usr/bin/env node
// The hub with better-sse on Node's `http`: a session for each stream, a channel for each topic. Events that
// one turn of the loop publishes are batched: encoded once in an event buffer, and sent to each session at
// once. The session's own keep-alive.

import { createServer } from "node:http";
import { createChannel, createEventBuffer, createSession } from "better-sse";

const topics = new Map();

async function subscribe(topic, request, response) {
  const session = await createSession(request, response, { keepAlive: 15_000, retry: null });
  if (!topics.has(topic)) topics.set(topic, { channel: createChannel(), events: null });
  // It may have disconnected meanwhile.
  if (session.isConnected) topics.get(topic).channel.register(session);
}

async function publish(topic, request, response) {
  let data = "";
  request.setEncoding("utf8");
  for await (const piece of request) data += piece;
  response.writeHead(204).end();
  const found = topics.get(topic);
  if (!found) return;
  if (!found.events) {
    // The data is text already.
    found.events = createEventBuffer({ serializer: (text) => text });
    setImmediate(flush, found);
  }
  for (const line of data.split(/\r\n|\r|\n/)) found.events.data(line);
  found.events.dispatch();
}

function flush(topic) {
  const { channel, events } = topic;
  topic.events = null;
  for (const session of channel.activeSessions) session.batch(events);
}

const server = createServer({ noDelay: true }, (request, response) => {
  const [, action, topic] = request.url.split("/");
  if (request.method === "GET" && action === "events") subscribe(topic, request, response);
  else if (request.method === "POST" && action === "publish") publish(topic, request, response);
  else response.writeHead(404).end();
});

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT ?? 0), backlog: 4096 }, () => {
  console.log(`better-sse: http://127.0.0.1:${server.address().port}`);
});
