// Readers of one stream each, for pages and for Node. A reader reports its number, "open", "event", "end" or
// "error", and the data of an event. Readers reconnect by themselves. An EventSource reports an error also
// when a stream has ended as it should.

function withEventSource(EventSource, url, say) {
  const source = new EventSource(url);
  source.onopen = () => say("open");
  source.onerror = () => say("error");
  source.onmessage = ({ data }) => say("event", data);
}

async function withFetch(url, say) {
  let id;
  for (;;) {
    try {
      const response = await fetch(url, { headers: id ? { "Last-Event-ID": id } : {} });
      say("open");
      let rest = "";
      for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("id: ")) id = line.slice(4);
          if (line.startsWith("data: ")) say("event", line.slice(6));
        }
      }
      say("end");
    } catch {
      say("error");
    }
    await new Promise((done) => setTimeout(done, 20));
  }
}

// Starts the first reader, and each of the others when the first has received this many events. Without
// `EventSource` they use fetch.
export function readAll(EventSource, url, joins, sayLine) {
  let got = 0;
  const begin = (reader) => {
    const say = (name, data) => {
      sayLine(JSON.stringify([reader, name, data ?? ""]));
      if (reader === 0 && name === "event") {
        got += 1;
        joins.forEach((count, other) => count === got && begin(other));
      }
    };
    const own = `${url}?reader=${reader}`;
    EventSource ? withEventSource(EventSource, own, say) : withFetch(own, say);
  };
  begin(0);
}
