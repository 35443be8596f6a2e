import { withoutUndefined } from '../../kit/json/object.ts';
import { say } from '../../money/contracts/about.ts';
import type { ConversationPart } from '../../talk/conversations/parts.ts';
import { OF_AGENT } from '../../talk/history/agent-in-use.ts';
import { refOf } from '../../talk/storage/rows.ts';
import type { Room } from '../room.ts';
import { AGENTS } from './agent.ts';
import { AGENT_ROUTES } from './agents.route.ts';
import { AGENT_MEMBERS } from './agents.schema.ts';

/** What agents have in a conversation's object: its answers and its requests name the agent. */
const agentsPart: ConversationPart = {
  open({ transcript }) {
    const named = () => {
      const agent = transcript.profile?.agent;
      return agent ? refOf(agent) : undefined;
    };
    return {
      about: () => say(OF_AGENT, named()),
      told: () => withoutUndefined({ 'sluice-agent': named() }),
    };
  },
};

/** For the reference alone: no Worker has them in it. */
export const AGENT_HEADER_WORDS = {
  'sluice-agent': 'The agent that has answered: name@version.',
};

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = {
  name: 'agents',
  routes: AGENT_ROUTES,
  conversation: agentsPart,
  headers: ['sluice-agent'],
  members: AGENT_MEMBERS,
  dimensions: [OF_AGENT],
  agents: AGENTS,
};
