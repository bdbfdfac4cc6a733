"""What OpenAI's own package can do with a server that is not OpenAI's, as lines of JSON: a name and a value each.

The argument is the URL of the API.
"""

import json
import sys

from openai import APIStatusError, OpenAI

(url,) = sys.argv[1:]
client = OpenAI(api_key="none", base_url=url, max_retries=0, timeout=30)
completions = client.chat.completions


def say(name, value):
    print(json.dumps([name, value]), flush=True)


for model in client.models.list():
    say("model", model.id)
model = client.models.retrieve("markov-1").id
say("retrieved", model)

content = [{"type": "text", "text": text} for text in ["Where does ", "the river begin?"]]
messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}]
whole = completions.create(model=model, messages=messages, max_tokens=12)
choice = whole.choices[0]
say("whole", [whole.object, choice.message.role, choice.message.content, choice.finish_reason])
say("usage", [whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens])

options = {"model": model, "messages": messages, "stream_options": {"include_usage": True}}
said = ""
for chunk in completions.create(**options, max_completion_tokens=12, stream=True):
    for choice in chunk.choices:
        said += choice.delta.content or ""
    usage = chunk.usage
say("streamed", [said, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens])
with completions.stream(**options) as stream:
    final = stream.get_final_completion()
choice = final.choices[0]
say("collected", [choice.message.content, choice.finish_reason, final.usage.total_tokens])

long = [{"role": "user", "content": "word " * 50_000}]
say("long", completions.create(model=model, messages=long, max_tokens=1).usage.prompt_tokens)


def refused(asking):
    """What is thrown."""
    try:
        asking()
    except APIStatusError as error:
        say("refused", [type(error).__name__, error.status_code, error.type, error.code])


refused(lambda: completions.create(model="none", messages=messages))
refused(lambda: completions.create(model="none", messages=messages, stream=True))
refused(lambda: client.models.retrieve("none"))
refused(lambda: completions.create(model=model, messages="x"))
refused(lambda: completions.create(model=model, messages=[]))
