// Reads a stream with Node's own module `https` repeatedly, and prints lines of JSON, as readers.mjs does.
// Arguments: the URL, and a file with the trusted certificate.
import { readFileSync } from "node:fs";
import { get } from "node:https";

const [url, trusted] = process.argv.slice(2);
const ca = readFileSync(trusted);
const say = (name, data) => console.log(JSON.stringify([0, name, data ?? ""]));
let id;

function read() {
  let over = false;
  const again = (name) => {
    // Both request and response report a reset.
    if (over) return;
    over = true;
    say(name);
    setTimeout(read, 20);
  };
  const request = get(url, { ca, headers: id ? { "Last-Event-ID": id } : {} });
  request.on("error", () => again("error"));
  request.on("response", (response) => {
    say("open");
    let rest = "";
    response.setEncoding("utf8");
    response.on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("id: ")) id = line.slice(4);
        if (line.startsWith("data: ")) say("event", line.slice(6));
      }
    });
    response.on("error", () => again("error"));
    response.on("end", () => again("end"));
  });
}

read();
