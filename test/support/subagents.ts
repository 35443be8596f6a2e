/** Agents that call agents: stored by a test, and answered by its script. */

import { vi } from 'vitest';
import type { RpcResult } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { SubagentOutcome } from '#edge/plugins/runs/subagents/subagent-outcome.ts';
import { authorizationFor, createSimulatedEdge } from './prefixes.ts';
import type { AskedBody } from './scripted-runs.ts';

/** A tool that is an agent. */
export const createAgentTool = (agent: string, run: object = {}, name = agent) => ({ name, run: { agent, ...run } });

/** A call of it. */
export const createTask = (id: string, name: string, text = `Do ${id}.`): JsonObject => ({
  type: 'tool_use',
  id,
  name,
  input: { task: text },
});

/** Stores agents of alice's; the system of each is its name, so that a script can tell them apart. */
export async function storeAgents(
  agents: Record<string, { tools?: object[]; limits?: object; description?: string }>,
  vars: Record<string, unknown> = {},
): Promise<void> {
  const app = createSimulatedEdge(vars);
  const alice = await authorizationFor('alice', 'admin');
  for (const [name, own] of Object.entries(agents)) {
    const response = await app.fetch(`/agents/${name}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', ...alice },
      body: JSON.stringify({ system: name, model: 'claude-opus-5-5', max_tokens: 200, ...own }),
    });
    if (response.status !== 200) throw new Error(`PUT ${name}: ${response.status} ${await response.text()}`);
  }
  await app.waitUntilSettled();
}

/** @returns the agent that a request comes from; undefined for a run of a client's own */
export function agentNameOf({ system }: AskedBody): string | undefined {
  const blocks = Array.isArray(system) ? (system as JsonObject[]).map(({ text }) => text) : [system];
  return blocks.length > 0 && blocks[0] !== undefined ? String(blocks[0]) : undefined;
}

/** @returns the contents of the results that a request's last message has, by the ids of their calls */
export function toolResultsOf({ messages }: AskedBody): Map<string, JsonObject> {
  const { content } = messages.at(-1) ?? {};
  const blocks = Array.isArray(content) ? content : [];
  return new Map(
    blocks.filter(({ type }) => type === 'tool_result').map((block) => [String(block.tool_use_id), block]),
  );
}

type Outcome = RpcResult<SubagentOutcome | undefined>;

/** Puts something around each question of a run how its subagent has ended. @param does calls `ask`, or does not */
export function wrapOutcomes(
  does: (subagent: Conversation, askOriginal: () => Promise<Outcome>) => Promise<Outcome>,
): void {
  const { callPlugin } = Conversation.prototype;
  vi.spyOn(Conversation.prototype, 'callPlugin').mockImplementation(async function (this: Conversation, ...called) {
    const ask = () => callPlugin.apply(this, called) as Promise<Outcome>;
    return (await (called[1] === 'subagentOutcome' ? does(this, ask) : ask())) as RpcResult<never>;
  });
}
