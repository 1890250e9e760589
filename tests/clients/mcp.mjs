// The MCP SDK against the reference server, over streamable HTTP.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "test", version: "1" });
const transport = new StreamableHTTPClientTransport(new URL(process.env.AGENTVAULT_URL + "/mcp/mcp"), {
  requestInit: { headers: { Authorization: `Bearer ${process.env.MCP_KEY}` } },
});
await client.connect(transport);
const tools = await client.listTools();
console.log("tools:", tools.tools.some((tool) => tool.name === "echo"));
const echoed = await client.callTool({ name: "echo", arguments: { message: "hello" } });
console.log("echo:", echoed.content[0].text);
await client.close();
