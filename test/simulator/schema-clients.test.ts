/** What clients make of a schema is what the simulator takes, as Claude does. */

import { createAnthropic } from '@ai-sdk/anthropic';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodOutputFormat } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { ChatAnthropic } from '@langchain/anthropic';
import { generateObject, generateText, Output } from 'ai';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { createSimulator } from '#edge/toolkit/simulator.ts';

const MODEL = 'claude-haiku-5-5';
const prompt = 'Describe a ticket about billing.';
/** With what the API refuses: bounds, lengths, a default, a union. */
const ticket = z.object({
  title: z.string().min(3).max(80),
  priority: z.int().min(1).max(5),
  tags: z.array(z.string()).min(1).max(4),
  owner: z.nullable(z.string()),
  email: z.optional(z.email()),
  state: z.union([z.string(), z.object({ closed: z.boolean() })]),
});

const simulate = createSimulator();
const client = new Anthropic({ apiKey: 'any', fetch: simulate, maxRetries: 0 });
const anthropic = createAnthropic({ apiKey: 'any', fetch: simulate as typeof fetch });
const messages = [{ role: 'user' as const, content: prompt }];
const asked = { model: MODEL, max_tokens: 4_000, messages };

test('messages.parse of the SDK works with a Zod schema, stable and beta', async () => {
  const { parsed_output } = await client.messages.parse({
    ...asked,
    output_config: { format: zodOutputFormat(ticket) },
  });
  expect(parsed_output?.title).toEqual(expect.any(String));
  const beta = await client.beta.messages.parse({
    ...asked,
    output_config: { format: betaZodOutputFormat(ticket) },
  });
  expect(beta.parsed_output?.priority).toEqual(expect.any(Number));
});

test.each(['outputFormat', 'jsonTool', 'auto'] as const)(
  'generateObject of the AI SDK works with a Zod schema by %s',
  async (structuredOutputMode) => {
    const providerOptions = { anthropic: { structuredOutputMode } };
    const { object } = await generateObject({ model: anthropic(MODEL), schema: ticket, prompt, providerOptions });
    expect(ticket.keyof().options.filter((name) => name in object)).toEqual(expect.arrayContaining(['title', 'tags']));
  },
);

test('generateText of the AI SDK works with an output schema and a strict tool', async () => {
  const look = { description: 'Looks', inputSchema: z.object({ place: z.string() }), strict: true };
  const output = Output.object({ schema: ticket });
  const { content } = await generateText({ model: anthropic(MODEL), tools: { look }, output, prompt });
  expect(content.length).toBeGreaterThan(0);
});

test.each(['functionCalling', 'jsonSchema'] as const)(
  'withStructuredOutput of LangChain works with a Zod schema by %s',
  async (method) => {
    const model = new ChatAnthropic({
      model: MODEL,
      apiKey: 'any',
      maxTokens: 4_000,
      maxRetries: 0,
      clientOptions: { fetch: simulate },
    });
    const answer = await model.withStructuredOutput(ticket, { method }).invoke(prompt);
    expect(answer).toMatchObject({ title: expect.any(String) });
  },
);
