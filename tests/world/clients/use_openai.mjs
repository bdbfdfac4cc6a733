// Calls of OpenAI's own package to a server that is not OpenAI's. It prints lines of JSON: a name and a value
// each. Argument: the URL of the API.
import { createRequire } from "node:module";

const { OpenAI, APIError } = createRequire(process.cwd() + "/")("openai");
const [baseURL] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "none", baseURL, maxRetries: 0, timeout: 30_000 });
const say = (name, value) => console.log(JSON.stringify([name, value]));
const completions = client.chat.completions;

for await (const model of client.models.list()) say("model", model.id);
const { id: model } = await client.models.retrieve("markov-1");
say("retrieved", model);

const content = ["Where does ", "the river begin?"].map((text) => ({ type: "text", text }));
const messages = [{ role: "developer", content: "Be brief." }, { role: "user", content }];
const whole = await completions.create({ model, messages, max_tokens: 12 });
const [{ message, finish_reason }] = whole.choices;
say("whole", [whole.object, message.role, message.content, finish_reason]);
say("usage", [whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens]);

const options = { model, messages, stream_options: { include_usage: true } };
let said = "", usage;
for await (const chunk of await completions.create({ ...options, max_completion_tokens: 12, stream: true })) {
  said += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage;
}
say("streamed", [said, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]);
const final = await completions.stream(options).finalChatCompletion();
say("collected", [final.choices[0].message.content, final.choices[0].finish_reason, final.usage.total_tokens]);

const long = [{ role: "user", content: "word ".repeat(50_000) }];
say("long", (await completions.create({ model, messages: long, max_tokens: 1 })).usage.prompt_tokens);

/** Returns the exception that is thrown. */
async function refused(asking) {
  try {
    await asking;
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    say("refused", [error.constructor.name, error.status, error.type, error.code]);
  }
}
await refused(completions.create({ model: "none", messages }));
await refused(completions.create({ model: "none", messages, stream: true }));
await refused(client.models.retrieve("none"));
await refused(completions.create({ model, messages: "x" }));
await refused(completions.create({ model, messages: [] }));
