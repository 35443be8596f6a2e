import { say } from '../../money/contracts/about.ts';
import type { ConversationPart } from '../../talk/conversations/parts.ts';
import { OF_AGENT } from '../../talk/history/agent-in-use.ts';
import { refOf } from '../../talk/storage/rows.ts';

/** What agents have in a conversation's object: its answers and its requests name the agent. */
export const agentsPart: ConversationPart = {
  open({ transcript }) {
    const named = () => transcript.profile?.agent;
    return {
      about() {
        const agent = named();
        return say(OF_AGENT, agent ? refOf(agent) : undefined);
      },
      told() {
        const agent = named();
        return agent ? { 'sluice-agent': refOf(agent) } : {};
      },
    };
  },
};
