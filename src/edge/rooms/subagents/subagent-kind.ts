import { conversationStub } from '../../kit/objects/stubs.ts';
import { faultIn } from '../../talk/contracts/tools.schema.ts';
import type { CalledKind } from '../runs/called-kind.ts';
import { faultOfPause } from '../runs/pauses.ts';
import { withinRoom } from '../runs/tool-result.ts';
import { filledAgentTool } from './agent-tools.ts';
import { callAgent } from './call-agent.ts';
import { subagentId } from './subagent-result.ts';
import { type AgentRun, agentRunSchema, agentTool } from './subagents.schema.ts';

/** Tools that are agents. Using an agent needs no scope, so a tool that is an agent needs none either. */
export const subagentKind: CalledKind<AgentRun> = {
  member: 'agent',
  names: () => Object.keys(agentRunSchema.shape),
  asked: [agentRunSchema],
  fault: (tool) => faultOfPause(tool.run) ?? faultIn(agentTool.safeParse(tool)),
  told: (_, text) => filledAgentTool(text),
  apart: subagentId,
  callsOf: ({ env, settings, account, caller }) => ({
    call: async (call, run, { apart, ...options }) => {
      if (!apart) throw new TypeError('A call of an agent without its share.');
      const reach = (id: string) => conversationStub(env, settings, { account, id });
      return await withinRoom(await callAgent(call, run, { ...options, ...apart, caller, reach }), options);
    },
  }),
};
