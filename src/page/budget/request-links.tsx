import type { ListedRequest } from '../../client/index.ts';
import { nameOfVersion } from '../edge/agents.ts';
import { type SpendGroup, showCost } from './breakdown-selection.ts';

interface RequestLinksProps {
  request: Pick<ListedRequest, 'conversation' | 'agent' | 'tags' | 'account'>;
}

/** Leads from a request to what its conversation, agent and tags have cost in the last 7 days, each. */
export function RequestLinks({ request: { conversation, agent, tags, account } }: RequestLinksProps) {
  const parts: [SpendGroup, string | null, string?][] = [
    ['conversation', conversation],
    // By its name: a version is a long hash.
    ['agent', agent, agent === null ? '' : nameOfVersion(agent)],
    ...Object.entries(tags).map(([name, value]): [SpendGroup, string] => ['tag', `${name}=${value}`]),
  ];
  return (
    <span class="parts-of">
      {parts.map(([group, key, name]) =>
        key === null ? null : (
          <button
            key={`${group} ${key}`}
            type="button"
            class="link"
            title={`${group} ${key}: what it cost in the last 7 days`}
            onClick={() => showCost(group, key, account)}
          >
            {name ?? key}
          </button>
        ),
      )}
    </span>
  );
}
