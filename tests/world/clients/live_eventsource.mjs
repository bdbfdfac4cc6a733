// Reads streams with the package `eventsource`, and prints lines of JSON. Arguments: the name of the last
// event, then a URL for each stream. A line has the number of the stream, a name and data; names are also
// "open" and "error". It reconnects by itself.
import { createRequire } from "node:module";

const { EventSource } = createRequire(process.cwd() + "/")("eventsource");
const [end, ...urls] = process.argv.slice(2);

urls.forEach((url, index) => {
  const source = new EventSource(url);
  const say = (name, data) => console.log(JSON.stringify([index, name, data]));
  source.onopen = () => say("open", "");
  source.onerror = () => say("error", "");
  for (const name of ["message", "gap", end]) {
    source.addEventListener(name, ({ type, data }) => {
      say(type, data);
      if (type === end) source.close();
    });
  }
});
