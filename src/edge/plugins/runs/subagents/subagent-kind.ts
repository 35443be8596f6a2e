import { getConversationStub } from '../../../durable/stubs.ts';
import { editJson } from '../../../kit/json/edit.ts';
import { formatFirstIssue } from '../../../registry/tools/tools.schema.ts';
import type { CallableToolKind } from '../tool-kind.ts';
import { reserveMemoryForResult } from '../tool-result.ts';
import { callSubagent, computeSubagentConversationId } from './call-agent.ts';
import { agentRunSchema, agentTool, type SubagentToolRun } from './subagents.schema.ts';

/** The default description of a subagent tool, for the model. */
const DESCRIPTION =
  'Gives a task to another agent, which works on it by itself, and answers with what it has come to. It knows nothing but the task.';
const INPUT = {
  type: 'object',
  properties: { task: { type: 'string', description: 'What is to be done, with all that has to be known for it.' } },
  required: ['task'],
};

/** Tools that are agents. Using an agent needs no scope, so a tool that is an agent needs none either. */
export const subagentKind: CallableToolKind<SubagentToolRun> = {
  member: 'agent',
  hasNoAddress: true,
  listRunFieldNames: () => Object.keys(agentRunSchema.shape),
  schemas: [agentRunSchema],
  findFault: (tool) => formatFirstIssue(agentTool.safeParse(tool)),
  show: (_, text) =>
    editJson(text, {
      description: { ifAbsent: JSON.stringify(DESCRIPTION) },
      input_schema: { ifAbsent: JSON.stringify(INPUT) },
    }),
  apart: computeSubagentConversationId,
  createToolCaller: ({ env, settings, account, request }) => ({
    callTool: async (call, run, { apart, ...options }) => {
      if (!apart) throw new TypeError('The stored call of this agent has no subagent.');
      const createConversationStub = (id: string) => getConversationStub(env, settings, { account, id });
      return await reserveMemoryForResult(
        await callSubagent(call, run, { ...options, ...apart, request, createConversationStub }),
        options,
      );
    },
  }),
};
