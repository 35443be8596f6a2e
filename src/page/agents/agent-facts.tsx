import type { AgentContent } from '../../edge/answers.ts';
import { nameOf } from '../edge/models.ts';
import { Facts } from '../ui/facts.tsx';
import { formatCount } from '../ui/format.ts';
import { limitName, plainSystem } from './members.ts';

/** What happens to a conversation's history above its limit. */
const LONG_HISTORIES = {
  error: 'refused',
  truncate: 'sent without their oldest turns',
  summarize: 'summarized',
} as const;

/** Shows what an agent is made of. */
export function AgentFacts({ content }: { content: AgentContent }) {
  const { model, description, tools = [], limits, approvers, mcp_servers = [], container, fallbacks, betas } = content;
  const { history } = content;
  const names = tools.map(
    (tool) => `${String(tool.name ?? tool.type)}${Object.hasOwn(tool, 'run') ? ' (called by the edge)' : ''}`,
  );
  const system = plainSystem(content.system) ?? 'in several blocks: see Edit';
  const bounds = Object.entries(limits ?? {}).map(([limit, most]) => `${limitName(limit)} ${most}`);
  return (
    <Facts
      class="headers details"
      facts={[
        ...(description === undefined ? [] : ([['Description', description]] as const)),
        ['Model', typeof model === 'string' ? nameOf(model) : chosenBy(model)],
        ...given('System prompt', system === '' ? [] : [system]),
        ['Tools', names.length === 0 ? 'none' : names.join(', ')],
        ...given('MCP servers', mcp_servers.map(serverOf)),
        ...given(
          'Skills',
          container?.skills.map(({ skill_id }) => String(skill_id)),
        ),
        ...given('Fallbacks of the API', fallbacks === 'default' ? [fallbacks] : fallbacks?.map((one) => one.model)),
        ...given('Betas', betas),
        ...given(
          'Long histories',
          history && [`${LONG_HISTORIES[history.strategy]} above ${formatCount(history.max_tokens)} tokens`],
        ),
        ['Run limits', bounds.length === 0 ? 'none of its own' : bounds.join(', ')],
        ['Approved by', approvers === 'admin' ? 'an admin' : 'the conversation’s owner'],
      ]}
    />
  );
}

function chosenBy({ by, models, otherwise }: Exclude<AgentContent['model'], string>): string {
  const each = Object.entries(models).map(([label, model]) => `${label}: ${nameOf(model)}`);
  return `chosen by ${by}: ${[...each, `otherwise ${nameOf(otherwise)}`].join(', ')}`;
}

/** @returns the fact, where there is one */
function given(name: string, values: readonly string[] = []): (readonly [string, string])[] {
  return values.length === 0 ? [] : [[name, values.join(', ')]];
}

function serverOf({
  name,
  authorization_token: token,
}: {
  name: string;
  authorization_token?: { secret: string } | undefined;
}) {
  return token ? `${name} (secret ${token.secret})` : name;
}
