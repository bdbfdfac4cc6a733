// Reads a chat completion with OpenAI's own package, and prints lines of JSON. Argument: the URL of the API.
// Each chunk is a line; the last line says that the stream has ended without an exception.
import { createRequire } from "node:module";

const { OpenAI } = createRequire(process.cwd() + "/")("openai");
const [baseURL] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "none", baseURL, maxRetries: 0, timeout: 30_000 });
const messages = [{ role: "user", content: "Where does the river begin?" }];
for await (const chunk of await client.chat.completions.create({ model: "none", messages, stream: true })) {
  console.log(JSON.stringify({ event: "message", data: chunk.choices[0].delta.content, id: chunk.id }));
}
console.log(JSON.stringify({ event: "end", data: "", id: "" }));
