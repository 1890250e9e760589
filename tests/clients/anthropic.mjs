import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const request = { model: "stand-in", max_tokens: 16, messages: [{ role: "user", content: "hello" }] };
const plain = await client.messages.create(request);
console.log("plain:", plain.content[0].text);
let streamed = "";
for await (const event of await client.messages.create({ ...request, stream: true })) {
  if (event.type === "content_block_delta") streamed += event.delta.text;
}
console.log("stream:", streamed);
