// Reads a stream with the package `eventsource`, and prints lines of JSON. Arguments: the URL, then the names
// to listen for, the last of which ends it. It reconnects by itself.
import { createRequire } from "node:module";

const { EventSource } = createRequire(process.cwd() + "/")("eventsource");
const [url, ...names] = process.argv.slice(2);
const source = new EventSource(url);

for (const name of ["message", ...names]) {
  source.addEventListener(name, ({ type, data, lastEventId }) => {
    console.log(JSON.stringify({ event: type, data, id: lastEventId }));
    if (name === names.at(-1)) source.close();
  });
}
