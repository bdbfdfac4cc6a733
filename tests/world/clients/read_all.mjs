// Reads a stream several times at once, and prints lines of JSON; see readers.mjs. Arguments: "eventsource",
// for the package, or "fetch", the URL, and the times at which readers begin.
import { createRequire } from "node:module";
import { readAll } from "./readers.mjs";

const [kind, url, joins] = process.argv.slice(2);
const npm = () => createRequire(process.cwd() + "/")("eventsource").EventSource;
readAll(kind === "eventsource" ? npm() : undefined, url, JSON.parse(joins), (line) => console.log(line));
