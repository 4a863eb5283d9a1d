// OpenAI's npm SDK: its own loop over tool calls, plain and streamed, and Responses streamed; embeddings.
// Arguments: base URL, key, prompt, models. Prints what was said.
import OpenAI from "openai";

const [baseURL, apiKey, content, ...models] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });
const multiply = {
  type: "function",
  function: {
    name: "multiply",
    description: "a times b",
    parameters: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
    },
    parse: JSON.parse,
    function: ({ a, b }) => `ran-${a * b}`,
  },
};
for (const model of models) {
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({
      model,
      stream,
      messages: [{ role: "user", content }],
      tools: [multiply],
    });
    console.log("chat", stream, await runner.finalContent());
  }
  let said = "";
  for await (const event of await client.responses.create({ model, input: "Say something.", stream: true })) {
    if (event.type === "response.output_text.delta") said += event.delta;
  }
  console.log("responses", said);
}
const embedded = await client.embeddings.create({ model: models[0], input: "a" });
if (embedded.data[0].embedding.length === 0) throw new Error("no embedding");
