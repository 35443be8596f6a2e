import { OF_AGENT } from '../../conversations/history/agent-in-use.ts';
import { formatVersionReference } from '../../conversations/history/storage/rows.ts';
import type { ConversationPlugin } from '../../conversations/object/hooks.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { createDimensionValue } from '../../money/contracts/dimensions.ts';
import type { Plugin } from '../plugin.ts';
import { AGENTS } from './agent.ts';
import { AGENT_ROUTES } from './agents.route.ts';
import { AGENT_MEMBERS } from './agents.schema.ts';
import { OF_CHOICE } from './choice/chosen-by.schema.ts';
import { choicePart, KEPT_CHOICES, MODEL_MEMBERS } from './choice/part.ts';
import { boundGuard } from './restricted-tokens/check-turn.ts';

/** What agents have in a conversation's object: its answers and its requests name the agent. */
const agentsPart: ConversationPlugin = {
  createHooks({ transcript }) {
    const findNamedAgent = () => {
      const agent = transcript.storedProfile?.agent;
      return agent ? formatVersionReference(agent) : undefined;
    };
    return {
      getDimensions: () => createDimensionValue(OF_AGENT, findNamedAgent()),
      headers: () => removeUndefined({ 'sluice-agent': findNamedAgent() }),
    };
  },
};

/** For the reference alone: no Worker has them in it. */
export const AGENT_HEADER_WORDS = {
  'sluice-agent': 'The version of the agent that responded, `name@version`.',
  'sluice-model-chosen':
    'If the agent chooses its model: the chosen model, followed by `arm`, `why`, the `label` (percent-encoded) and the version of the `classifier`.',
};

/** Agents: prompts, tools and models stored by name, model choice, and restricted tokens, which may only use named agents. */
export const agents: Plugin = {
  name: 'agents',
  routes: AGENT_ROUTES,
  conversation: [agentsPart, choicePart],
  copied: KEPT_CHOICES,
  headers: ['sluice-agent', 'sluice-model-chosen'],
  members: { ...AGENT_MEMBERS, ...MODEL_MEMBERS },
  dimensions: [OF_AGENT, OF_CHOICE],
  agents: AGENTS,
  guard: boundGuard,
};
