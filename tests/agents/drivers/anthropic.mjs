// Anthropic's npm SDK with its own loop over tool calls, plain and streamed; tokens counted.
// Arguments: base URL, key, prompt, models. Prints what was said.
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, content, ...models] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const multiply = {
  name: "multiply",
  description: "a times b",
  input_schema: {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a", "b"],
  },
  parse: (given) => given,
  run: ({ a, b }) => `ran-${a * b}`,
};
for (const model of models) {
  for (const stream of [false, true]) {
    const runner = client.beta.messages.toolRunner({
      model,
      max_tokens: 2000,
      stream,
      messages: [{ role: "user", content }],
      tools: [multiply],
    });
    const last = await runner.runUntilDone();
    console.log(stream, last.content.map((block) => block.text ?? "").join(""));
  }
  const counted = await client.messages.countTokens({ model, messages: [{ role: "user", content }] });
  if (!(counted.input_tokens > 0)) throw new Error("not counted");
}
