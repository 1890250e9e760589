// The SDK as its documentation shows it: key and base URL come from the environment.
import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "hello" }];
const plain = await client.chat.completions.create({ model: "stand-in", messages });
console.log("plain:", plain.choices[0].message.content);
let streamed = "";
for await (const part of await client.chat.completions.create({ model: "stand-in", messages, stream: true })) {
  streamed += part.choices[0]?.delta?.content ?? "";
}
console.log("stream:", streamed);
try {
  await client.files.delete("file-1");
} catch (error) {
  console.log("denied:", error.status, error.code);
}
