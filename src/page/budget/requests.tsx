import { signal } from '@preact/signals';
import type { ListedRequest, Page } from '../../client/index.ts';
import { ofAccount } from '../edge/account.ts';
import { identity } from '../edge/identity.ts';
import { type Column, List, type RowOf } from '../edge/list.tsx';
import { nameOf } from '../edge/models.ts';
import { hasPlugin, type PluginName } from '../edge/plugins.ts';
import { Form, Select, SubmitButton } from '../ui/form.tsx';
import { formatCount, formatMs, formatStamp } from '../ui/format.ts';
import { type BudgetView, budgetView, go } from '../ui/route.ts';
import { Tabs } from '../ui/tabs.tsx';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { chosenDays, daysName, minuteListed, range } from './figures/days.ts';
import { inputTokens } from './figures/input-tokens.ts';
import { listedKind, type RequestKind } from './figures/listed-requests.ts';
import { account } from './figures/report.ts';
import { FindRequest } from './find-request.tsx';
import { LedHeading } from './led-heading.tsx';
import { AccountLink, requestsOf } from './links.tsx';
import { MostRefused } from './most-refused.tsx';
import { Outcome, sayWhy } from './outcome.tsx';
import { PartOf } from './part-of.tsx';
import { RequestDetails } from './request-details.tsx';
import { Webhooks } from './webhooks.tsx';

/** Each with the plugin that it needs, if any. */
const REQUEST_VIEWS: readonly (readonly [BudgetView, string, PluginName?])[] = [
  ['requests', 'Of an account'],
  ['refused', 'All refused', 'pools'],
  ['failed', 'All failed', 'pools'],
  ['webhooks', 'Webhooks and alerts', 'webhooks'],
];
const KINDS = [
  ['sent', 'Sent'],
  ['refused', 'Refused'],
  ['failed', 'Failed'],
] as const;
const NONE: Record<RequestKind, string> = {
  sent: 'No requests',
  refused: 'No requests were refused',
  failed: 'No requests failed',
};
/** How much is shown before and after a minute. */
const AROUND_MS = 5 * 60_000;

/** The credential (its jti) whose requests are listed; empty for all of them. */
export const tokenListed = signal('');

/** Shows an account's requests. An admin finds those of every account, and what is delivered, as far as the edge has it. */
export function BudgetRequests() {
  if (!identity.value.admin) return <AccountRequests />;
  const views = REQUEST_VIEWS.filter(([, , plugin]) => plugin === undefined || hasPlugin(plugin));
  const shown = Math.max(
    0,
    views.findIndex(([view]) => view === budgetView.value),
  );
  const content = () => <div class="stack">{contentOf(views[shown]?.[0])}</div>;
  return (
    <>
      <FindRequest />
      {views.length === 1 ? (
        content()
      ) : (
        <div>
          <Tabs
            label="Requests and deliveries"
            tabs={views.map(([, name]) => ({ name, content }))}
            shown={shown}
            onChoose={(at) => go('budget', views[at]?.[0] ?? 'requests')}
          />
        </div>
      )}
    </>
  );
}

function contentOf(view: BudgetView = 'requests') {
  switch (view) {
    case 'webhooks':
      return <Webhooks />;
    case 'refused':
    case 'failed':
      return <AllRequests kind={view} />;
    default:
      return <AccountRequests />;
  }
}

function AccountRequests() {
  const kind = listedKind.value;
  const token = tokenListed.value === '' ? {} : { token: tokenListed.value };
  return (
    <section class="stack" aria-labelledby="requests">
      <LedHeading id="requests" to={requestsOf(account.value)}>
        Requests of {account.value}
      </LedHeading>
      <div class="row filters">
        {identity.value.admin && (
          <>
            <ChooseAccount key={account.value} />
            <AccountLink account={account.value} name="Its limits" />
          </>
        )}
        <label class="inline">
          <span class="quiet">Which</span>
          <Select value={kind} options={KINDS} onChoose={(one) => (listedKind.value = one as RequestKind)} />
        </label>
        <label class="inline">
          <span class="quiet">Token</span>
          <input
            placeholder="its jti"
            autocomplete="off"
            spellcheck={false}
            value={tokenListed.value}
            onChange={(event) => (tokenListed.value = event.currentTarget.value.trim())}
          />
        </label>
        <Days />
      </div>
      <List<ListedRequest>
        name="Requests"
        path="/usage/requests"
        query={() => ({
          ...days(),
          ...ofAccount(account.value),
          ...token,
          ...(kind === 'sent' ? {} : { outcome: kind }),
        })}
        columns={kind === 'sent' ? SENT : WRONG}
        row={kind === 'sent' ? ROW : WRONG_ROW}
        empty={`${NONE[kind]} ${when()}.`}
      />
    </section>
  );
}

/** A page of requests of all accounts. `accounts_after` is not null if it asked only some of them. */
type PageOfAccounts = Page<ListedRequest> & { accounts_after?: string | null };

/** Lists what was refused, or has failed, of all accounts, each with the sentence that its caller read. */
function AllRequests({ kind }: { kind: 'refused' | 'failed' }) {
  return (
    <section class="stack" aria-labelledby="requests">
      <LedHeading id="requests" to={`#/budget/${kind}`}>
        {kind === 'refused' ? 'Refused of all accounts' : 'Failed of all accounts'}
      </LedHeading>
      <div class="row filters">
        <Days />
      </div>
      <List<ListedRequest, PageOfAccounts>
        key={kind}
        name="Requests"
        path="/usage/requests"
        query={() => ({ ...days(), outcome: kind })}
        // The lines of one page count all that there is.
        about={({ accounts_after }: PageOfAccounts, isPart) => (
          <>
            {kind === 'refused' && isPart && <MostRefused />}
            {accounts_after != null && (
              <p class="quiet">This page shows only the 200 accounts with the newest of them. Choose fewer days.</p>
            )}
          </>
        )}
        columns={OF_ALL}
        row={WRONG_ROW}
        empty={`${NONE[kind]} ${when()}.`}
      />
      <p class="quiet">A request without a valid token (401) is only in the log.</p>
    </section>
  );
}

function Days() {
  return (
    <>
      {minuteListed.value === '' && (
        <span class="inline">
          <span class="quiet">Days (UTC)</span>
          <DaysPicker of="the requests" />
        </span>
      )}
      <label class="inline">
        <span class="quiet">Around</span>
        <input
          type="datetime-local"
          title="Five minutes before and after it, in your time"
          value={minuteListed.value}
          onChange={(event) => (minuteListed.value = event.currentTarget.value)}
        />
      </label>
    </>
  );
}

function ChooseAccount() {
  return (
    <Form
      class="inline"
      onSubmit={(data) => go('budget', ['requests', String(data.get('account')).trim() || account.value])}
    >
      <label class="inline">
        <span class="quiet">Account</span>
        <input name="account" autocomplete="off" maxLength={128} defaultValue={account.value} />
      </label>
      <SubmitButton name="Show" kind="plain" />
    </Form>
  );
}

const ROW: RowOf<ListedRequest> = {
  key: ({ request_id }) => request_id,
  look: ({ status }) => (status === 'held' ? 'running' : undefined),
  details: (row) => <RequestDetails request={row} />,
};
/** @returns what went wrong, of which account: without the sentence, which may say how long to wait */
function sayFailure({ account: id, model, status, error_type, refusal }: ListedRequest): string {
  const { limited_by, group, limit, reason, never } = refusal ?? {};
  return JSON.stringify([id, model, status, error_type, limited_by, group, limit, reason, never]);
}

const WRONG_ROW: RowOf<ListedRequest> = { ...ROW, says: sayFailure };
/** A list of several days has the day in each row. */
const TIME: Column<ListedRequest> = {
  name: 'Time',
  cell: ({ created_at }) => formatStamp(created_at, coversToday() ? new Date() : null),
};
const OUTCOME: Column<ListedRequest> = { name: 'Outcome', cell: (row) => <Outcome row={row} /> };
const MODEL: Column<ListedRequest> = { name: 'Model', spare: true, cell: ({ model }) => nameOf(model) };
/** What went wrong, and the sentence that its caller read. */
const WHY: Column<ListedRequest> = {
  name: 'Outcome and why',
  kind: 'text',
  cell: (row, times) => (
    <>
      <Outcome row={row} />
      <strong>{times}</strong>
      <p>{sayWhy(row)}</p>
    </>
  ),
};
const PART_OF: Column<ListedRequest> = {
  name: 'Part of',
  kind: 'text',
  spare: true,
  cell: (row) => <PartOf request={row} />,
};

/** Running requests show their hold. */
const SENT: readonly Column<ListedRequest>[] = [
  TIME,
  OUTCOME,
  MODEL,
  { name: 'Route', spare: true, cell: ({ route }) => route },
  { name: 'In', kind: 'number', spare: true, cell: (row) => ifEnded(row, formatCount(inputTokens(row.usage))) },
  {
    name: 'From cache',
    kind: 'number',
    spare: true,
    cell: ({ usage }) => (usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''),
  },
  { name: 'Out', kind: 'number', spare: true, cell: (row) => ifEnded(row, formatCount(row.usage.output_tokens)) },
  { name: 'Cost', kind: 'number', cell: (row) => <Cost row={row} /> },
  { name: 'Duration', kind: 'number', spare: true, cell: ({ ms }) => (ms === null ? '' : formatMs(ms)) },
  PART_OF,
];
const WRONG: readonly Column<ListedRequest>[] = [TIME, WHY, MODEL, PART_OF];
const OF_ALL: readonly Column<ListedRequest>[] = [
  TIME,
  { name: 'Account', kind: 'text', cell: ({ account: id }) => id !== undefined && <AccountLink account={id} /> },
  WHY,
  MODEL,
];

function ifEnded({ status }: ListedRequest, text: string): string {
  return status === 'held' ? '' : text;
}

function Cost({ row }: { row: ListedRequest }) {
  const { status, estimated, hold_usd, cost_usd } = row;
  const isRunning = status === 'held';
  return (
    <span title={estimated ? 'Estimated: the upstream did not report it' : undefined}>
      {isRunning ? '≤ ' : estimated && '≈ '}
      <Usd value={isRunning ? hold_usd : cost_usd} />
    </span>
  );
}

function days(): { from: string; to: string } {
  return timesAround(minuteListed.value) ?? chosenDays();
}

function coversToday(): boolean {
  return range.value === 'today' && minuteListed.value === '';
}

function when(): string {
  return minuteListed.value === '' ? daysName() : `around ${minuteListed.value.replace('T', ' ')}`;
}

/** @returns the minutes before and after one; undefined if none is chosen, or it is no time */
function timesAround(minute: string): { from: string; to: string } | undefined {
  const at = Date.parse(minute);
  if (Number.isNaN(at)) return undefined;
  const [from = '', to = ''] = [at - AROUND_MS, at + AROUND_MS].map((time) => new Date(time).toISOString());
  return { from, to };
}
