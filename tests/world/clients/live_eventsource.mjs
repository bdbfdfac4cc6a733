// Streams that the package `eventsource` reads for long, as lines of JSON: the name of the event that ends
// one, then a URL for each. A line is the number of the stream, a name and data; names are also "open" and
// "error". It reconnects by itself.
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
