// Vercel's AI SDK by the settings of its page, and its classes for OpenAI (Responses) and Anthropic: each with its own
// loop over tool calls, plain and streamed. Arguments: base URL, key, prompt, models. Prints what was said.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { perquery } from "./vercel-settings.mjs";

const [address, apiKey, prompt, ...models] = process.argv.slice(2);
const baseURL = `${address}/v1`;
const multiply = tool({
  description: "a times b",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: ({ a, b }) => `ran-${a * b}`,
});
const classes = { perquery, openai: createOpenAI({ baseURL, apiKey }), anthropic: createAnthropic({ baseURL, apiKey }) };
for (const model of models) {
  for (const [name, provider] of Object.entries(classes)) {
    const providerOptions = { openai: { store: false } }; // as the page says
    const tools = { multiply };
    const asked = { model: provider(model), prompt, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0 };
    const plain = await generateText(asked);
    console.log(name, plain.text, plain.totalUsage.totalTokens > 0);
    const streamed = streamText({ ...asked, onError: ({ error }) => console.error(error) });
    console.log(name, await streamed.text, (await streamed.totalUsage).totalTokens > 0);
  }
}
