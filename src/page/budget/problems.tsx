import { useEffect } from 'preact/hooks';
import type { OverviewResponse } from '../../edge/answers.ts';
import { StalePartFault } from '../edge/retry-fault.tsx';
import { formatCount, formatRowTime } from '../ui/format.ts';
import { sortAccountsByLimitUse } from './figures/accounts-order.ts';
import { listedMinute, listedRange } from './figures/days.ts';
import { deploymentReport, pollDeploymentProblems, problems, problemsFault } from './figures/overview.ts';
import { focusTarget } from './figures/report.ts';
import { ACCOUNTS_HREF, ALERTS_SOURCE, getWebhookSourceHref, SOURCES_HREF } from './links.tsx';

const REJECTED_REQUESTS_HREF = '#/budget/refused';
const FAILED_REQUESTS_HREF = '#/budget/failed';

/** Why limits reject requests, by the reasons of the API. */
const REJECTION_REASONS: Readonly<Record<string, string>> = {
  model: 'model not allowed',
  unpriced: 'model without a price',
  requests: 'all requests of the token used',
  concurrency: 'concurrent requests',
  rate: 'rate limit',
  spend: 'not enough budget',
  held: 'budget held by running requests',
  storage: 'storage full',
};

/** Says what is broken, each with a link to its list; nothing where nothing is. */
export function Problems() {
  useEffect(pollDeploymentProblems, []);
  const isBudgetUsedUp = deploymentReport.value?.binds.some(({ refuses }) => refuses) ?? false;
  const all = problems.value
    ? createProblemCounts(problems.value, isBudgetUsedUp).filter(({ count }) => count === undefined || count > 0)
    : [];
  const tasks = problems.value?.failing_tasks ?? [];
  const keyLimits = problems.value?.key_limits ?? [];
  // A rejected key is shown above the page.
  const incidents = problems.value?.incidents ?? [];
  const outages = incidents.filter(({ kind }) => kind === 'upstream_failing');
  // Failed requests by themselves are history, and admins block accounts on purpose. An outage that other upstreams make up for
  // affects no user.
  const hasUrgent =
    tasks.length + keyLimits.length > 0 ||
    incidents.some(({ rerouted }) => !rerouted) ||
    all.some(({ isUrgent }) => isUrgent);
  return (
    <>
      <StalePartFault name="Problems" fault={problemsFault} />
      {problems.value === undefined && problemsFault.value === undefined && <p class="quiet loading">…</p>}
      {all.length + tasks.length + keyLimits.length + outages.length > 0 && (
        <section class={hasUrgent ? 'panel problems broken' : 'panel problems'} aria-label="Problems">
          {outages.length > 0 && <Outages outages={outages} />}
          {all.length > 0 && (
            <ul class="row">
              {all.map(({ count, words, href, note, isUrgent }) => (
                <li key={words} data-look={isUrgent ? 'urgent' : undefined}>
                  <a href={href} onClick={() => prepareLinkedList(href)}>
                    {count !== undefined && <strong>{formatCount(count)} </strong>}
                    {words}
                  </a>
                  {note}
                </li>
              ))}
            </ul>
          )}
          {keyLimits.length > 0 && <LowKeyLimits limits={keyLimits} />}
          {tasks.length > 0 && <FailingTasks tasks={tasks} />}
          <p class="quiet">
            Counts of requests and accounts are updated within a minute. Times are in your browser’s time zone unless
            they say UTC.
          </p>
        </section>
      )}
      {problems.value && <RejectedByLimits overview={problems.value} />}
    </>
  );
}

/** Says how many requests limits have rejected today, and why. Nothing is broken: this is what limits are for. */
function RejectedByLimits({ overview: { requests, rejections = [] } }: { overview: OverviewResponse }) {
  const count = requests?.refused ?? 0;
  if (count === 0) return null;
  return (
    <section class="panel" aria-label="Rejected by limits">
      <p>
        <a href={REJECTED_REQUESTS_HREF} onClick={() => prepareLinkedList(REJECTED_REQUESTS_HREF)}>
          <strong>{formatCount(count)}</strong> rejected by limits today
        </a>
      </p>
      <ul class="row quiet">
        {rejections.map(({ limited_by, reason, requests }) => (
          <li key={`${limited_by} ${reason}`}>
            {formatCount(requests)} {REJECTION_REASONS[reason] ?? reason}
            {limited_by && ` (${limited_by})`}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Lists upstreams and models whose requests fail, until they work again. */
function Outages({ outages }: { outages: NonNullable<OverviewResponse['incidents']> }) {
  return (
    <ul aria-label="Failing upstreams">
      {outages.map(({ since, subject, todo }) => (
        <li key={`${since} ${subject}`}>
          Requests have failed at the upstream since {formatRowTime(since)}: {subject}
          <p class="quiet">{todo}</p>
        </li>
      ))}
    </ul>
  );
}

/** Lists the rate limits of the deployment's keys of which little is left. */
function LowKeyLimits({ limits }: { limits: NonNullable<OverviewResponse['key_limits']> }) {
  return (
    <>
      <ul class="row" aria-label="Rate limits of the key">
        {limits.map(({ upstream, model_class, kind, remaining, limit, rejected_requests }) => (
          <li key={`${upstream} ${model_class} ${kind}`}>
            <strong>{formatCount(remaining)}</strong> of {formatCount(limit)} {kind.replace('_', ' ')} per minute remain
            for {[upstream, model_class].filter(Boolean).join(', ')}
            {rejected_requests > 0 &&
              `. ${formatCount(rejected_requests)} requests failed with a 429 in the last five minutes`}
          </li>
        ))}
      </ul>
      <p class="quiet">
        Claude rejects requests while a rate limit of the key is used up. The operator can ask Anthropic for higher
        limits, or add another upstream. An admin can limit the tokens per minute of accounts.
      </p>
    </>
  );
}

/** Lists background work that keeps failing. There is nothing to open: the log names the object and the error. */
function FailingTasks({ tasks }: { tasks: NonNullable<OverviewResponse['failing_tasks']> }) {
  return (
    <>
      <ul class="row" aria-label="Failing background tasks">
        {tasks.map(({ task, failing_since }) => (
          <li key={task}>
            <strong>{task}</strong> has failed since {formatRowTime(failing_since)}
          </li>
        ))}
      </ul>
      <p class="quiet">Background tasks are repeated until they succeed. The log names the object and the error.</p>
    </>
  );
}

/** Prepares a list to show what was counted: the requests of today, or the accounts, sorted by the use of their limits. */
function prepareLinkedList(href: string): void {
  if (href === REJECTED_REQUESTS_HREF || href === FAILED_REQUESTS_HREF)
    [listedRange.value, listedMinute.value] = ['today', ''];
  if (href === ACCOUNTS_HREF) sortAccountsByLimitUse();
  focusTarget.value = href;
}

/** One kind of problem: how many there are, if they are counted. */
interface ProblemCount {
  count?: number;
  words: string;
  href: string;
  /** What follows the link. */
  note?: string;
  /** Whether it needs action now. */
  isUrgent: boolean;
}

/** @param isBudgetUsedUp whether the budget of all accounts is used up. Then this is one problem, and not one for each account */
function createProblemCounts(
  { requests, accounts, undelivered_events: events = [], undelivered_alerts: alerts = 0 }: OverviewResponse,
  isBudgetUsedUp: boolean,
): ProblemCount[] {
  const { blocked = 0, spent = 0 } = accounts ?? {};
  const { failed = 0, requests: ended = 0 } = requests ?? {};
  const undelivered = events.reduce((sum, one) => sum + one.events, 0);
  return [
    {
      count: undelivered,
      words: undelivered === 1 ? 'event undelivered' : 'events undelivered',
      href: SOURCES_HREF,
      isUrgent: true,
      note: `: ${events.map(({ source, failing_since: since }) => (since ? `${source} since ${formatRowTime(since)}` : source)).join(', ')}`,
    },
    {
      count: alerts,
      words: alerts === 1 ? 'alert undelivered' : 'alerts undelivered',
      href: getWebhookSourceHref(ALERTS_SOURCE),
      isUrgent: true,
    },
    isBudgetUsedUp
      ? { words: 'All accounts: budget used up', href: ACCOUNTS_HREF, isUrgent: true }
      : {
          count: spent,
          words: spent === 1 ? 'account has too little budget' : 'accounts have too little budget',
          href: ACCOUNTS_HREF,
          isUrgent: true,
        },
    {
      count: failed,
      words: `of ${formatCount(ended)} ${ended === 1 ? 'request' : 'requests'} failed today`,
      href: FAILED_REQUESTS_HREF,
      isUrgent: false,
      ...(requests?.last_failed_at && { note: `, the last on ${formatRowTime(requests.last_failed_at)}` }),
    },
    {
      count: blocked,
      words: blocked === 1 ? 'account blocked by a limit of 0' : 'accounts blocked by a limit of 0',
      href: ACCOUNTS_HREF,
      isUrgent: false,
    },
  ];
}
