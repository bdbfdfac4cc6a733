"""What OpenAI's own package makes of a chat completion, as lines of JSON: the URL of the API.

Each chunk is a line; that the stream has ended without an exception is the last.
"""

import json
import sys

from openai import OpenAI

(url,) = sys.argv[1:]
client = OpenAI(api_key="none", base_url=url, max_retries=0, timeout=30)
question = {"role": "user", "content": "Where does the river begin?"}
for chunk in client.chat.completions.create(model="none", messages=[question], stream=True):
    data = chunk.choices[0].delta.content
    print(json.dumps({"event": "message", "data": data, "id": chunk.id}), flush=True)
print(json.dumps({"event": "end", "data": "", "id": ""}), flush=True)
