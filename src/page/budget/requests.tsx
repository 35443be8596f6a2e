import type { ListedRequest, Page } from '../../client/index.ts';
import { createAccountQuery } from '../edge/account.ts';
import { canSendRequests, identity } from '../edge/identity.ts';
import { type ListColumn, type ListRowDefinition, PolledList } from '../edge/list.tsx';
import { getModelDisplayName } from '../edge/models.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FilterChips, RemovableChip } from '../ui/chips.tsx';
import { Cost } from '../ui/cost.tsx';
import { formatCount, formatMilliseconds, formatRowTime } from '../ui/format.ts';
import { budgetName, budgetView, navigateToSection } from '../ui/route.ts';
import { DaysPicker } from './days-picker.tsx';
import { useConversationTitles } from './figures/conversation-titles.ts';
import { describeSelectedDays, getSelectedDayRange, listedMinute } from './figures/days.ts';
import { sumAllInputTokens } from './figures/input-tokens.ts';
import { type ListedRequestKind, listedRequestKind, listedToken } from './figures/listed-requests.ts';
import { focusTarget, shownAccount } from './figures/report.ts';
import { FocusHeading } from './focus-heading.tsx';
import { ACCOUNTS_HREF, AccountLink, createRequestsFocusTarget, navigateToAccountRequests } from './links.tsx';
import { MostRejectedAccounts } from './most-rejected-accounts.tsx';
import { describeFailureCause, RequestOutcomeText } from './outcome.tsx';
import { RequestDetails } from './request-details.tsx';
import { RequestCostLinks } from './request-links.tsx';
import { RequestSearch } from './search-requests.tsx';

const KIND_OPTIONS = [
  ['sent', 'All sent to Claude'],
  ['refused', 'Rejected'],
  ['failed', 'Failed'],
] as const;
const EMPTY_TEXTS: Record<ListedRequestKind, string> = {
  sent: 'No requests were sent to Claude',
  refused: 'No requests were rejected',
  failed: 'No requests failed',
};
const ALL_ACCOUNTS_HEADINGS = {
  refused: 'Rejected requests of all accounts',
  failed: 'Failed requests of all accounts',
} as const;
/** How much is shown before and after a minute. */
const AROUND_MINUTE_MS = 5 * 60_000;

/** Shows an account's requests. An operator finds those of every account. */
export function BudgetRequests() {
  useConversationTitles();
  const kind = getKindOfAllAccounts();
  const hasReasons = kind !== undefined || listedRequestKind.value !== 'sent';
  return (
    <section class={hasReasons ? 'stack stacked reason-rows' : 'stack'} aria-labelledby="requests">
      <RequestSearch kind={kind} />
      {kind ? <UnsuccessfulRequestList key={kind} kind={kind} /> : <AccountRequests />}
    </section>
  );
}

/**
 * @returns which requests of all accounts are shown; undefined for those of one account. An operator whose token sends no requests
 *   begins with all accounts, because the own list is empty
 */
function getKindOfAllAccounts(): 'refused' | 'failed' | undefined {
  const { value: view } = budgetView;
  if (!identity.value.operator || !hasPlugin('pools')) return undefined;
  if (view === 'refused' || view === 'failed') return view;
  return !canSendRequests() && budgetName.value === undefined ? 'refused' : undefined;
}

function AccountRequests() {
  const kind = listedRequestKind.value;
  const token = listedToken.value === '' ? {} : { token: listedToken.value };
  return (
    <>
      <div class="apart view-head">
        <FocusHeading key={shownAccount.value} id="requests" target={createRequestsFocusTarget(shownAccount.value)}>
          Requests of {shownAccount.value}
        </FocusHeading>
        {identity.value.operator && <AccountLink account={shownAccount.value} name="Account" />}
      </div>
      <div class="row filters">
        <AccountFilter kindOfAll={undefined} />
        <FilterChips
          label="Outcome"
          chosen={kind}
          options={KIND_OPTIONS}
          onChoose={(one) => (listedRequestKind.value = one)}
        />
        {listedToken.value !== '' && (
          <RemovableChip
            name={`Token ${listedToken.value}`}
            label={`Show all tokens, not only ${listedToken.value}`}
            onRemove={() => (listedToken.value = '')}
          />
        )}
        <DaysPicker of="the requests" minute={listedMinute} />
      </div>
      <PolledList<ListedRequest>
        name="Requests"
        path="/usage/requests"
        query={() => ({
          ...getSelectedTimeRange(),
          ...createAccountQuery(shownAccount.value),
          ...token,
          ...(kind === 'sent' ? {} : { outcome: kind }),
        })}
        columns={kind === 'sent' ? SENT_COLUMNS : FAILED_COLUMNS}
        row={kind === 'sent' ? REQUEST_ROW : FAILED_ROW}
        empty={`${EMPTY_TEXTS[kind]} ${describeSelectedTimeRange()}.${kind === 'sent' ? ' Rejected requests are listed under “Rejected”.' : ''}`}
      />
    </>
  );
}

/** A page of requests of all accounts. `accounts_after` is not null if it asked only some of them. */
type UnsuccessfulRequestsPage = Page<ListedRequest> & { accounts_after?: string | null };

/** Lists the rejected or failed requests of all accounts, each with the sentence that the caller received. */
function UnsuccessfulRequestList({ kind }: { kind: 'refused' | 'failed' }) {
  return (
    <>
      <div class="view-head">
        <FocusHeading id="requests" target={`#/budget/${kind}`}>
          {ALL_ACCOUNTS_HEADINGS[kind]}
        </FocusHeading>
      </div>
      <div class="row filters">
        <AccountFilter kindOfAll={kind} />
        <FilterChips
          label="Outcome"
          chosen={kind}
          options={KIND_OPTIONS}
          // The API lists these only for one account.
          disabled="sent"
          onChoose={(one) => navigateToSection('budget', one)}
        />
        <DaysPicker of="the requests" minute={listedMinute} />
      </div>
      <p class="quiet">
        “{KIND_OPTIONS[0][1]}” is a list of one account. Search for an account above, or open it in{' '}
        <a href={ACCOUNTS_HREF} onClick={() => (focusTarget.value = ACCOUNTS_HREF)}>
          Accounts
        </a>
        . Requests without a valid token (401) appear only in the log.
      </p>
      <PolledList<ListedRequest, UnsuccessfulRequestsPage>
        name="Requests"
        path="/usage/requests"
        query={() => ({ ...getSelectedTimeRange(), outcome: kind })}
        // A summary by account helps only if the requests do not fit on a single page.
        about={({ accounts_after }: UnsuccessfulRequestsPage, isPart) => (
          <>
            {kind === 'refused' && isPart && <MostRejectedAccounts />}
            {accounts_after != null && (
              <p class="quiet">
                This page shows only the 200 accounts with the newest such requests. Choose fewer days.
              </p>
            )}
          </>
        )}
        columns={ALL_REQUESTS_COLUMNS}
        row={FAILED_ROW}
        empty={`${EMPTY_TEXTS[kind]} ${describeSelectedTimeRange()}.`}
      />
    </>
  );
}

/**
 * Lets an operator choose between one account, which the search sets, and all accounts.
 *
 * @param kindOfAll which requests of all accounts are shown; undefined for those of one account
 */
function AccountFilter({ kindOfAll }: { kindOfAll: ListedRequestKind | undefined }) {
  if (!identity.value.operator || !hasPlugin('pools')) return null;
  // An operator whose token sends no requests has no own ones to go back to.
  if (kindOfAll !== undefined && !canSendRequests()) return null;
  const showAllAccounts = () => {
    // Sent requests can be listed only for one account, so show the rejected ones instead.
    navigateToSection('budget', listedRequestKind.value === 'failed' ? 'failed' : 'refused');
  };
  return (
    <FilterChips
      label="Accounts"
      chosen={kindOfAll === undefined ? 'one' : 'all'}
      options={[
        ['one', shownAccount.value],
        ['all', 'All accounts'],
      ]}
      onChoose={(one) => (one === 'all' ? showAllAccounts() : navigateToAccountRequests(shownAccount.value, kindOfAll))}
    />
  );
}

const REQUEST_ROW: ListRowDefinition<ListedRequest> = {
  getKey: ({ request_id }) => request_id,
  look: ({ status }) => (status === 'held' ? 'running' : undefined),
  details: (row) => <RequestDetails request={row} />,
};
/** @returns what went wrong, of which account: without the message of a rejection, which may say how long to wait, and without numbers */
function createFailureGroupKey(row: ListedRequest): string {
  const { account: id, model, status, error_type, error_message, refusal } = row;
  const message = error_message?.replaceAll(/\d+/g, '');
  const { limited_by, group, limit, reason, never } = refusal ?? {};
  return JSON.stringify([id, model, status, error_type, message, limited_by, group, limit, reason, never]);
}

const FAILED_ROW: ListRowDefinition<ListedRequest> = { ...REQUEST_ROW, says: createFailureGroupKey };
const TIME_COLUMN: ListColumn<ListedRequest> = {
  name: 'Time',
  renderCell: ({ created_at }) => formatRowTime(created_at),
};
const OUTCOME_COLUMN: ListColumn<ListedRequest> = {
  name: 'Outcome',
  kind: 'text',
  renderCell: (row) => <RequestOutcomeText row={row} />,
};
const MODEL_COLUMN: ListColumn<ListedRequest> = {
  name: 'Model',
  spare: true,
  renderCell: ({ model }) => getModelDisplayName(model),
};
/** The cause of a failure, and the sentence that the caller received. */
const CAUSE_COLUMN: ListColumn<ListedRequest> = {
  name: 'Outcome and reason',
  kind: 'text',
  renderCell: (row, times) => (
    <>
      <RequestOutcomeText row={row} />
      <strong>{times}</strong>
      <p>{describeFailureCause(row)}</p>
    </>
  ),
};
const LINKS_COLUMN: ListColumn<ListedRequest> = {
  name: 'Attributed to',
  kind: 'text',
  spare: true,
  renderCell: (row) => <RequestCostLinks request={row} />,
};

/** Running requests show their hold. */
const SENT_COLUMNS: readonly ListColumn<ListedRequest>[] = [
  TIME_COLUMN,
  OUTCOME_COLUMN,
  MODEL_COLUMN,
  { name: 'Route', spare: true, renderCell: ({ route }) => route },
  {
    name: 'Input tokens',
    kind: 'number',
    spare: true,
    renderCell: (row) => getTextIfEnded(row, formatCount(sumAllInputTokens(row.usage))),
  },
  {
    name: 'From cache',
    kind: 'number',
    spare: true,
    renderCell: ({ usage }) => (usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''),
  },
  {
    name: 'Output tokens',
    kind: 'number',
    spare: true,
    renderCell: (row) => getTextIfEnded(row, formatCount(row.usage.output_tokens)),
  },
  { name: 'Cost', kind: 'number', renderCell: (row) => <RequestCost row={row} /> },
  {
    name: 'Duration',
    kind: 'number',
    spare: true,
    renderCell: ({ ms }) => (ms === null ? '' : formatMilliseconds(ms)),
  },
  LINKS_COLUMN,
];
const FAILED_COLUMNS: readonly ListColumn<ListedRequest>[] = [TIME_COLUMN, CAUSE_COLUMN, MODEL_COLUMN, LINKS_COLUMN];
const ALL_REQUESTS_COLUMNS: readonly ListColumn<ListedRequest>[] = [
  TIME_COLUMN,
  { name: 'Account', kind: 'text', renderCell: ({ account: id }) => id !== undefined && <AccountLink account={id} /> },
  CAUSE_COLUMN,
  MODEL_COLUMN,
];

function getTextIfEnded({ status }: ListedRequest, text: string): string {
  return status === 'held' ? '' : text;
}

function RequestCost({ row }: { row: ListedRequest }) {
  const { status, estimated, hold_usd, cost_usd } = row;
  const isRunning = status === 'held';
  return (
    <span title={estimated ? 'Estimated, because the upstream did not report the cost' : undefined}>
      {isRunning ? '≤ ' : estimated && '≈ '}
      <Cost value={isRunning ? hold_usd : cost_usd} />
    </span>
  );
}

function getSelectedTimeRange(): { from: string; to: string } {
  return parseMinuteRange(listedMinute.value) ?? getSelectedDayRange();
}

function describeSelectedTimeRange(): string {
  return listedMinute.value === '' ? describeSelectedDays() : `around ${listedMinute.value.replace('T', ' ')}`;
}

/** @returns the minutes before and after one; undefined if none is chosen, or it is no time */
function parseMinuteRange(minute: string): { from: string; to: string } | undefined {
  const at = Date.parse(minute);
  if (Number.isNaN(at)) return undefined;
  const [from = '', to = ''] = [at - AROUND_MINUTE_MS, at + AROUND_MINUTE_MS].map((time) =>
    new Date(time).toISOString(),
  );
  return { from, to };
}
