/** An edge on which agents are stored, and where what goes up is answered by a script. */
import { expect } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from './prefixes.ts';
import {
  type AskedBody,
  answerByScript,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from './scripted-runs.ts';

/** An agent with a tool that has an address. */
export const SKY = {
  model: 'claude-opus-5-5',
  max_tokens: 64,
  system: 'You are Sky. Look before you speak.',
  tools: [weatherTool()],
  limits: { max_turns: 5, max_usd: 0.5, max_tool_calls: 4 },
};
type Headers = Record<string, string>;

/** Sends a request. @returns its status and its body */
export async function requestEdge(
  app: Pick<SimulatedEdge, 'fetch'>,
  method: string,
  path: string,
  headers: Headers,
  body?: unknown,
) {
  const sent = { method, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await app.fetch(path, sent);
  return { status: response.status, body: (await response.json()) as JsonObject };
}

/** An edge with the deployment’s agent `sky`; bob may use it. What goes up calls the weather once in each turn. */
export async function createSkyEdge(agent: object = SKY, tool = 'get_weather') {
  const app = createSimulatedEdge(TOOL_VARS);
  const root = await authorizationFor('root', 'admin');
  const bob = await authorizationFor('bob', 'messages');
  const { status, body } = await requestEdge(app, 'PUT', '/agents/sky', root, agent);
  expect({ status, error: body.error }).toEqual({ status: 200, error: undefined });
  const bodies = answerByScript(({ messages, tools }) => {
    const { role, content } = messages.at(-1) ?? {};
    const isAnswered = role === 'user' && Array.isArray(content) && content[0]?.type === 'tool_result';
    const isOffered = Array.isArray(tools) && tools.some(({ name }) => name === tool);
    return isAnswered || !isOffered
      ? textAnswer('Sun.')
      : callsAnswer(weatherCall(`toolu_${messages.length}`, 'Bern', tool));
  });
  return { app, root, bob, bodies, version: String(body.version) };
}

/** A turn of the conversation `c1`, whole. */
export async function runWholeTurn(app: SimulatedEdge, headers: Headers, body: object, more: Headers = {}) {
  const asked = { conversation: 'c1', messages: [{ role: 'user', content: 'Is it sunny?' }], ...body };
  const answer = await requestEdge(app, 'POST', '/v1/messages', { ...headers, ...more }, asked);
  await app.waitUntilSettled();
  return answer;
}

/** @returns the tools and the system of what went up, without breakpoints */
export const toolsAndSystemOf = ({ tools, system }: AskedBody) => ({
  tools: ((tools ?? []) as JsonObject[]).map(removeBreakpoint),
  system: ((system ?? []) as JsonObject[]).map(removeBreakpoint),
});

function removeBreakpoint({ cache_control: _, ...item }: JsonObject): JsonObject {
  return item;
}
