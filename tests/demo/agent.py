"""An agent as people write them: it reads a key and a base URL from its environment and calls the API."""
import json
import os
import urllib.error
import urllib.request

key = os.environ["OPENAI_API_KEY"]
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
print(f"agent:    my OPENAI_API_KEY is {key[:24]}...")
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
                                 data=json.dumps({"model": "stand-in", "messages": []}).encode())
try:
    with urllib.request.urlopen(request) as response:
        print(f"agent:    the API answered {response.status}: {json.load(response)['answer']}")
except urllib.error.HTTPError as error:
    print(f"agent:    the API answered {error.code}: {json.load(error)['error']['message']}")
