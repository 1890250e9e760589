import os

import httpx

headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
url = os.environ["OPENAI_BASE_URL"]
with httpx.Client(headers=headers) as client:
    body = {"model": "stand-in", "messages": []}
    print("plain:", client.post(url + "/chat/completions", json=body).json()["choices"][0]["message"]["content"])
    streamed = ""
    with client.stream("POST", url + "/chat/completions", json={**body, "stream": True}) as response:
        for line in response.iter_lines():
            if "content" in line:
                streamed += __import__("json").loads(line[6:])["choices"][0]["delta"]["content"]
    print("stream:", streamed)
    print("denied:", client.delete(url + "/files/file-1").status_code)
