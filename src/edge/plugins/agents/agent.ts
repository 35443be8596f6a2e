import type { ChosenModel, ModelChoiceInput, ResolvedAgent } from '../../conversations/history/agent-in-use.ts';
import type { NewConversationDefaults } from '../../conversations/history/inherited-parts.ts';
import type { AgentStorage } from '../../conversations/object/initial-context.ts';
import { decoder } from '../../kit/http/bytes.ts';
import type { AgentDefinition, AgentDefinitionWithText } from './agent-definition.ts';
import { buildRequestWithAgent } from './apply-agent.ts';
import { chooseModelForMessage } from './choice/choose-model.ts';

/** An agent as requests use it. */
export class Agent implements ResolvedAgent, AgentDefinitionWithText {
  readonly definition: AgentDefinition;
  readonly text: string;

  constructor(definition: AgentDefinition, text: string) {
    this.definition = definition;
    this.text = text;
  }

  get defaults(): NewConversationDefaults {
    const { model, max_tokens: maxTokens, history } = this.definition;
    return { model: typeof model === 'string' ? model : model.otherwise, maxTokens, history, runs: undefined };
  }

  get hasSecrets(): boolean {
    return this.definition.mcp_servers?.some((server) => server.authorization_token) === true;
  }

  hasTool(name: unknown, by?: 'client'): boolean {
    return this.definition.tools.some((tool) => tool.name === name && !(by && Object.hasOwn(tool, 'run')));
  }

  buildRequestWithAgent(...[members, inherited, how]: Parameters<ResolvedAgent['buildRequestWithAgent']>): string {
    return buildRequestWithAgent(members, this, inherited, how);
  }

  async chooseModel(request: ModelChoiceInput): Promise<ChosenModel | undefined> {
    return await chooseModelForMessage(this, request);
  }
}

/** An estimate: parsed JSON takes at most this many times the length of its text. */
const PARSED_SIZE = 4;

export function parseAgent(text: string): Agent {
  return new Agent(JSON.parse(text) as AgentDefinition, text);
}

/** How agents are stored in versions. */
export const AGENTS: AgentStorage<Agent> = {
  kind: 'agent',
  path: '/agents',
  read: (bytes) => parseAgent(decoder.decode(bytes)),
  parseRetainedCopy: parseAgent,
  memorySize: ({ text }) => text.length * (1 + PARSED_SIZE),
  memoryBytes: 8 * 1024 * 1024,
};
