import type { ListedRequest } from '../../client/index.ts';
import { type SpendGroup, showCost } from './figures/breakdown-of.ts';

/** Leads from a request to what its conversation, agent and tags have cost in the last 7 days, each. */
export function CostLinks({
  request,
}: {
  request: Pick<ListedRequest, 'conversation' | 'agent' | 'tags' | 'account'>;
}) {
  const { conversation, agent, tags, account } = request;
  const parts: [SpendGroup, string | null][] = [
    ['conversation', conversation],
    ['agent', agent],
    ...Object.entries(tags).map(([name, value]): [SpendGroup, string] => ['tag', `${name}=${value}`]),
  ];
  return parts.map(([group, key]) =>
    key === null ? null : (
      <button
        key={`${group} ${key}`}
        type="button"
        class="link"
        title={`What this ${group} cost in the last 7 days`}
        onClick={() => showCost(group, key, account)}
      >
        {key}{' '}
      </button>
    ),
  );
}
