import { getConversationStub } from '../../../durable/stubs.ts';
import { editJson } from '../../../kit/json/edit.ts';
import { firstIssueOf } from '../../../registry/tools/tools.schema.ts';
import type { CalledKind } from '../tool-kind.ts';
import { limitToMemory } from '../tool-result.ts';
import { callAgent, subagentId } from './call-agent.ts';
import { type AgentRun, agentRunSchema, agentTool } from './subagents.schema.ts';

/** What the model is told of such a tool that does not say it itself. */
const DESCRIPTION =
  'Gives a task to another agent, which works on it by itself, and answers with what it has come to. It knows nothing but the task.';
const INPUT = {
  type: 'object',
  properties: { task: { type: 'string', description: 'What is to be done, with all that has to be known for it.' } },
  required: ['task'],
};

/** Tools that are agents. Using an agent needs no scope, so a tool that is an agent needs none either. */
export const subagentKind: CalledKind<AgentRun> = {
  member: 'agent',
  hasNoAddress: true,
  names: () => Object.keys(agentRunSchema.shape),
  schemas: [agentRunSchema],
  findFault: (tool) => firstIssueOf(agentTool.safeParse(tool)),
  show: (_, text) =>
    editJson(text, {
      description: { ifAbsent: JSON.stringify(DESCRIPTION) },
      input_schema: { ifAbsent: JSON.stringify(INPUT) },
    }),
  apart: subagentId,
  callsOf: ({ env, settings, account, caller }) => ({
    call: async (call, run, { apart, ...options }) => {
      if (!apart) throw new TypeError('A call of an agent without its share.');
      const reach = (id: string) => getConversationStub(env, settings, { account, id });
      return await limitToMemory(await callAgent(call, run, { ...options, ...apart, caller, getStub: reach }), options);
    },
  }),
};
