import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createSimulator } from '#simulator/simulator.ts';
import session from '#test/fixtures/claude-code/session.json';
import { createTestApp } from '#test/support/app.ts';
import { parseEvents } from '#test/support/turns.ts';

const PATH = '/v1/messages?beta=true';
type Send = (body: JsonObject, headers: Record<string, string>) => Promise<Response>;

/** Answers by the simulator alone, and by the edge before it. */
function ways(): Record<string, Send> {
  const simulators = [1, 2].map(() => createSimulator({ models: toSimulatedModels(MODELS), now: () => 0 }));
  const [alone, behind] = simulators as [(typeof simulators)[0], (typeof simulators)[0]];
  const app = createTestApp(({ url, method, headers, body }) => behind(new Request(url, { method, headers, body })));
  const key = { 'x-api-key': 'key' };
  return {
    alone: (body, headers) =>
      alone(
        new Request(`https://api.test${PATH}`, {
          method: 'POST',
          headers: { ...headers, ...key },
          body: JSON.stringify(body),
        }),
      ),
    edge: (body, headers) => app.post(PATH, body, { ...headers, ...key }),
  };
}

/** The messages of a recorded request, with the thinking of the answers that the client has got. */
function withThinking(messages: readonly JsonObject[], thoughts: readonly unknown[]): JsonObject[] {
  return messages.map((message) => {
    if (!Array.isArray(message.content)) return message;
    const content = message.content.map((block: JsonObject) =>
      block.type === 'thinking' ? thoughts[Number(block.of)] : block,
    );
    return { ...message, content };
  });
}

/** What a session comes to: the kinds of blocks of each answer, how it ended and what was charged. */
async function replay(send: Send): Promise<unknown[]> {
  const thoughts: unknown[] = [];
  const outcomes: unknown[] = [];
  const ask = async (body: JsonObject, headers: Record<string, string>) => {
    const response = await send(body, headers);
    const text = await response.text();
    expect(response.status, text).toBe(200);
    const events = parseEvents(text);
    const starts = events.flatMap(({ data }) => (data.content_block ? [data.content_block as JsonObject] : []));
    const said = (name: string) =>
      events.map(({ data }) => (data.delta as JsonObject | undefined)?.[name] ?? '').join('');
    if (starts[0]?.type === 'thinking') {
      thoughts[outcomes.length] = { type: 'thinking', thinking: said('thinking'), signature: said('signature') };
    }
    const end = events.find(({ event }) => event === 'message_delta')?.data;
    outcomes.push([starts.map(({ type, name }) => [type, name]), end?.usage, said('text'), said('stop_reason')]);
  };
  for (const one of session.requests) {
    const [system, tools] = [session.systems[one.system], session.tools[one.tools]];
    const parts = { ...(system ? { system } : {}), ...(tools ? { tools } : {}) };
    const messages = withThinking(one.body.messages as JsonObject[], thoughts);
    await ask({ ...one.body, ...parts, messages }, session.headers[one.headers] as Record<string, string>);
  }
  // Later versions set the effort by a message without content, after `/compact`.
  const last = session.requests.at(-1);
  const effort = { role: 'system', content: [], output_config: { effort: 'high' } };
  const messages = [...withThinking((last?.body.messages ?? []) as JsonObject[], thoughts), effort];
  const headers = session.headers[last?.headers ?? 0] as Record<string, string>;
  const betas = `${headers['anthropic-beta']},mid-conversation-output-config-2026-07-01`;
  const model = { model: 'claude-opus-5', thinking: { type: 'adaptive' } };
  await ask({ ...last?.body, ...model, messages }, { ...headers, 'anthropic-beta': betas });
  return outcomes;
}

test('a Claude Code session with /compact, /model and a subagent has the same result through Sluice', async () => {
  const { alone, edge } = ways() as { alone: Send; edge: Send };
  const expected = await replay(alone);
  expect(expected.length).toBe(session.requests.length + 1);
  expect(JSON.stringify(expected)).toContain('"tool_use","Agent"');
  expect(await replay(edge)).toEqual(expected);
});
