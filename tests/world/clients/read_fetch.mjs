// Reads a stream with the package `@microsoft/fetch-event-source`, and prints lines of JSON. Arguments: the
// URL, and the name of the last event. It reconnects by itself when a stream is cut off, and, if `onclose`
// throws, also when it ends.
import { createRequire } from "node:module";

// It is made for pages, but needs no more of one than this.
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
