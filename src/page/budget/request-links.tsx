import type { ListedRequest } from '../../client/index.ts';
import { parseVersionName } from '../edge/agents.ts';
import { type SpendGrouping, showSpendOfKey } from './breakdown-selection.ts';
import { getConversationLabel } from './figures/conversation-titles.ts';
import { shownAccount } from './figures/report.ts';

interface RequestCostLinksProps {
  request: Pick<ListedRequest, 'conversation' | 'agent' | 'tags' | 'account'>;
}

/** Links a request to the cost of its conversation, agent and tags in the last 7 days. */
export function RequestCostLinks({ request: { conversation, agent, tags, account } }: RequestCostLinksProps) {
  const parts: [SpendGrouping, string | null, string?][] = [
    [
      'conversation',
      conversation,
      conversation === null ? '' : getConversationLabel(conversation, account ?? shownAccount.value),
    ],
    // Omit the version, which is a long hash.
    ['agent', agent, agent === null ? '' : parseVersionName(agent)],
    ...Object.entries(tags).map(([name, value]): [SpendGrouping, string] => ['tag', `${name}=${value}`]),
  ];
  return (
    <span class="parts-of">
      {parts.map(([group, key, name]) =>
        key === null ? null : (
          <button
            key={`${group} ${key}`}
            type="button"
            class="link"
            title={`${group} ${key}: cost in the last 7 days`}
            onClick={() => showSpendOfKey(group, key, account)}
          >
            <span class="clipped">{name ?? key}</span>
          </button>
        ),
      )}
    </span>
  );
}
