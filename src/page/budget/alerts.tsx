import type { AlertList, AlertRow } from '../../edge/answers.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { formatExactUsd, formatPercentage, formatRowTime, formatTimesInText } from '../ui/format.ts';
import { describeFailedAttempts } from './delivery-attempts.ts';
import { getLimitTitle } from './figures/limit-names.ts';
import { formatLimitWindow } from './figures/limit-window.ts';
import { focusTarget } from './figures/report.ts';
import { FocusHeading } from './focus-heading.tsx';
import {
  AccountLink,
  DeploymentLimitsLink,
  GroupLink,
  getWebhookSourceHref,
  OVERVIEW_HREF,
  SOURCES_HREF,
  SPENDERS_TARGET,
} from './links.tsx';

const ALERT_STATE_TEXTS: Record<AlertRow['state'], string> = {
  pending: 'being sent',
  delivered: 'delivered',
  parked: 'parked',
  kept: 'not sent',
};
/** The kinds of alerts about a limit in dollars. Links replace their advice, which is to look at the spending and raise the limit. */
const LIMIT_ALERT_KINDS: readonly AlertRow['kind'][] = ['threshold', 'run_expensive'];

const ALERT_COLUMNS: readonly ListColumn<AlertRow>[] = [
  { name: 'Alert', kind: 'text', renderCell: renderAlert },
  { name: 'When', kind: 'text', renderCell: ({ created_at }) => formatRowTime(created_at) },
  { name: 'State', kind: 'text', renderCell: renderAlertDeliveryState },
];

interface AlertsProps {
  /** The address of this list, if a link leads to it. */
  to?: string;
  /** Whether it has a view to itself, which then links to the sources. */
  isOnly?: boolean;
}

/** Shows the last alerts. */
export function Alerts({ to, isOnly = false }: AlertsProps) {
  return (
    <section class="stack stacked alert-rows" aria-labelledby="alerts">
      <div class="apart">
        <FocusHeading id="alerts" target={to}>
          Alerts
        </FocusHeading>
        {isOnly && (
          <a href={SOURCES_HREF} onClick={() => (focusTarget.value = SOURCES_HREF)}>
            All sources
          </a>
        )}
      </div>
      <PolledList<AlertRow, AlertList>
        name="Alerts"
        path="/alerts"
        about={({ alert_url_set }) =>
          alert_url_set === false && (
            <p class="quiet">
              <AlertsNotSentText />
            </p>
          )
        }
        columns={ALERT_COLUMNS}
        row={{ getKey: ({ event_id }) => event_id, look: (row) => (isAlertUndelivered(row) ? 'refused' : undefined) }}
        empty={describeNoAlerts()}
        size={5}
      />
    </section>
  );
}

/** Warns that alerts are not sent. */
export function AlertsNotSentText() {
  return (
    <span class="state" data-look="nearly">
      Alerts are not sent, because ALERT_URL is not set. The operator of this deployment can set it.
    </span>
  );
}

/** @returns the text of an empty list. Alerts about spending depend on the plugins. */
function describeNoAlerts(): string {
  const problems =
    'No alerts yet. Sluice creates an alert when a problem lasts, such as events undelivered for an hour';
  if (!hasPlugin('pools')) return `${problems}.`;
  const owners = hasPlugin('operator') ? 'an account, a group or the deployment' : 'a group or the deployment';
  return `${problems}, and when spending reaches a share that is set in the limits of ${owners}.`;
}

function isAlertUndelivered({ state, error }: AlertRow): boolean {
  return state === 'parked' || (state === 'pending' && error !== null);
}

/** An alert whose delivery has failed is never shown as “being sent”. */
function renderAlertDeliveryState(row: AlertRow) {
  if (row.state === 'kept')
    return (
      <span class="state" data-look="nearly">
        {ALERT_STATE_TEXTS.kept}
      </span>
    );
  if (!isAlertUndelivered(row)) return ALERT_STATE_TEXTS[row.state];
  return (
    <span class="state" data-look="refused">
      {[row.state === 'parked' ? ALERT_STATE_TEXTS.parked : 'not delivered', describeFailedAttempts(row)]
        .filter(Boolean)
        .join(': ')}
    </span>
  );
}

/** Shows what has happened, and the remedy. */
function renderAlert(alert: AlertRow) {
  return (
    <>
      {describeAlert(alert)}
      <p class="quiet">
        {describeRemedy(alert)} <AlertLinks alert={alert} />
      </p>
    </>
  );
}

/** @returns what to do, without routes of the API and without what the links beside it lead to */
function describeRemedy({ kind, todo }: AlertRow): string {
  const text = formatTimesInText(todo);
  return LIMIT_ALERT_KINDS.includes(kind)
    ? text.slice(0, Math.max(0, text.indexOf('An admin'))).trim()
    : text.replaceAll(/ \((?:GET|POST|PUT|PATCH|DELETE) [^)]*\)/g, '');
}

/** Links to where an admin can do something about an alert. */
function AlertLinks({ alert: { kind, node } }: { alert: AlertRow }) {
  const isAboutLimit = LIMIT_ALERT_KINDS.includes(kind);
  switch (node.type) {
    case 'account':
      return (
        <AccountLink account={node.id} name={isAboutLimit ? 'Spending and limits of this account' : 'This account'} />
      );
    case 'webhook':
      return <EventsLink source={node.id} />;
    case 'group':
    case 'deployment':
      return isAboutLimit ? (
        <span class="parts-of">
          {node.type === 'group' ? <GroupLink group={node.id} name="Limits of this group" /> : <DeploymentLimitsLink />}
          <a href={OVERVIEW_HREF} onClick={() => (focusTarget.value = SPENDERS_TARGET)}>
            Spending by account
          </a>
        </span>
      ) : null;
  }
}

function EventsLink({ source }: { source: string }) {
  const href = getWebhookSourceHref(source);
  return (
    <a href={href} onClick={() => (focusTarget.value = href)}>
      Events from {source}
    </a>
  );
}

/** @returns the window of a limit in words; `[]` for a limit in total, which has no window */
function describeWindow(window: string | null): string | [] {
  return window === null || window === 'total' ? [] : formatLimitWindow(window);
}

function describeAlert({ kind, node, limit, window, threshold, limit_usd, subject, country }: AlertRow): string {
  const who = node.type === 'deployment' ? 'The deployment' : node.id;
  switch (kind) {
    case 'threshold':
      return `${who} has ${threshold === 1 ? 'used up' : `passed ${formatPercentage(threshold ?? 0)} of`} ${formatExactUsd(limit_usd ?? 0)} (${[getLimitTitle(limit ?? '').toLowerCase(), describeWindow(window)].flat().join(', ')})`;
    case 'over_hold':
      return `${who} was billed more than was held: ${subject}`;
    case 'webhook_parked':
      return `${node.id} parked an event, which is no longer retried: ${subject}`;
    case 'batch_unknown':
      return `${who}: it is unknown whether Claude created the batch ${subject}`;
    case 'batch_missing':
      return `${who}: Claude has not found the batch ${subject} for an hour`;
    case 'key_nearly_limited':
      return `Less than 10 % of a rate limit of the key remains: ${subject}`;
    case 'upstream_failing':
      return `Many requests failed at the upstream: ${subject}`;
    case 'upstream_works':
      return `Requests to the upstream succeed again${subject === null ? '' : `: ${subject}`}`;
    case 'webhook_undelivered':
      return `${who}: the receiver has failed for an hour. ${subject}`;
    case 'run_expensive':
      return `${who} has spent ${formatPercentage(threshold ?? 0)} of ${formatExactUsd(limit_usd ?? 0)} (${describeWindow(window)}) on one conversation: ${subject}`;
    case 'disk_full':
      return 'Data could not be stored, because the disk or the database of a Durable Object is full';
    case 'token_new_country':
      return `${who}: the token ${subject} was used from another country than before: ${country}`;
    case 'key_refused':
      return `Claude rejects this deployment: ${subject}`;
    case 'key_works':
      return `Claude answers this deployment again${subject === null ? '' : `: ${subject}`}`;
  }
}
