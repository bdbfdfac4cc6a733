// What the package `@microsoft/fetch-event-source` makes of a stream, as lines of JSON: URL, and the name of
// the event that ends it. It reconnects by itself when a stream breaks off, and where `onclose` throws also
// when it ends.
import { createRequire } from "node:module";

// It is made for pages, and asks of one no more than this.
globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };
const { fetchEventSource } = createRequire(process.cwd() + "/")("@microsoft/fetch-event-source");
const [url, end] = process.argv.slice(2);
const leave = new AbortController();

await fetchEventSource(url, {
  openWhenHidden: true,
  signal: leave.signal,
  onmessage({ event, data, id }) {
    console.log(JSON.stringify({ event: event || "message", data, id }));
    if (event === end) leave.abort();
  },
  onclose() {
    if (!leave.signal.aborted) throw new Error("the end before the last event");
  },
});
