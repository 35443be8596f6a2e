/** An edge on which agents are stored, and where what goes up is answered by a script. */
import { expect } from 'vitest';
import type { Json } from '#edge/kit/json/object.ts';
import { as, type SimulatedEdge, simulatedEdge } from './prefixes.ts';
import { type Asked, answeringBy, call, calls, says, TOOL_VARS, weather } from './scripted-runs.ts';

/** An agent with a tool that has an address. */
export const SKY = {
  model: 'claude-opus-5-5',
  max_tokens: 64,
  system: 'You are Sky. Look before you speak.',
  tools: [weather()],
  limits: { max_turns: 5, max_usd: 0.5, max_tool_calls: 4 },
};
type Headers = Record<string, string>;

/** Sends a request. @returns its status and its body */
export async function ask(
  app: Pick<SimulatedEdge, 'fetch'>,
  method: string,
  path: string,
  headers: Headers,
  body?: unknown,
) {
  const sent = { method, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await app.fetch(path, sent);
  return { status: response.status, body: (await response.json()) as Json };
}

/** An edge with the deployment’s agent `sky`; bob may use it. What goes up calls the weather once in each turn. */
export async function edgeWithSky(agent: object = SKY, tool = 'get_weather') {
  const app = simulatedEdge(TOOL_VARS);
  const root = await as('root', 'admin');
  const bob = await as('bob', 'messages');
  const { status, body } = await ask(app, 'PUT', '/agents/sky', root, agent);
  expect({ status, error: body.error }).toEqual({ status: 200, error: undefined });
  const bodies = answeringBy(({ messages, tools }) => {
    const { role, content } = messages.at(-1) ?? {};
    const isAnswered = role === 'user' && Array.isArray(content) && content[0]?.type === 'tool_result';
    const isOffered = Array.isArray(tools) && tools.some(({ name }) => name === tool);
    return isAnswered || !isOffered ? says('Sun.') : calls(call(`toolu_${messages.length}`, 'Bern', tool));
  });
  return { app, root, bob, bodies, version: String(body.version) };
}

/** A turn of the conversation `c1`, whole. */
export async function turnWith(app: SimulatedEdge, headers: Headers, body: object, more: Headers = {}) {
  const asked = { conversation: 'c1', messages: [{ role: 'user', content: 'Is it sunny?' }], ...body };
  const answer = await ask(app, 'POST', '/v1/messages', { ...headers, ...more }, asked);
  await app.settled();
  return answer;
}

/** @returns the tools and the system of what went up, without breakpoints */
export const partsOf = ({ tools, system }: Asked) => ({
  tools: ((tools ?? []) as Json[]).map(withoutBreakpoint),
  system: ((system ?? []) as Json[]).map(withoutBreakpoint),
});

function withoutBreakpoint({ cache_control: _, ...item }: Json): Json {
  return item;
}
