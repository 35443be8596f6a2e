import type { AlertRow } from '../../edge/answers.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { formatDateAndTime, formatExactUsd, formatPercentage } from '../ui/format.ts';
import { describeFailedAttempts } from './delivery-attempts.ts';
import { getLimitTitle } from './figures/limit-names.ts';
import { FocusHeading } from './focus-heading.tsx';

const ALERT_STATE_TEXTS: Record<AlertRow['state'], string> = {
  pending: 'being sent',
  delivered: 'delivered',
  parked: 'parked',
  kept: 'not sent: ALERT_URL is not set',
};

const ALERT_COLUMNS: readonly ListColumn<AlertRow>[] = [
  { name: 'Alert', kind: 'text', renderCell: renderAlert },
  { name: 'When', kind: 'text', renderCell: ({ created_at }) => formatDateAndTime(created_at) },
  { name: 'State', kind: 'text', renderCell: renderAlertDeliveryState },
];

/** Shows the last alerts. @param to where a link leads to them; absent beside other lists */
export function Alerts({ to }: { to?: string }) {
  return (
    <section class="stack" aria-labelledby="alerts">
      <FocusHeading id="alerts" target={to}>
        Alerts
      </FocusHeading>
      <PolledList<AlertRow>
        name="Alerts"
        path="/alerts"
        columns={ALERT_COLUMNS}
        row={{ getKey: ({ event_id }) => event_id, look: (row) => (isAlertUndelivered(row) ? 'refused' : undefined) }}
        empty={describeNoAlerts()}
        size={5}
      />
    </section>
  );
}

/** @returns the text of an empty list. Alerts about spending depend on the plugins. */
function describeNoAlerts(): string {
  const problems = 'No alerts yet. Sluice creates an alert when a problem occurs';
  if (!hasPlugin('pools')) return `${problems}.`;
  const owners = hasPlugin('operator') ? 'an account, a group or the deployment' : 'a group or the deployment';
  return `${problems}, and when the spending reaches a share that is set in the limits of ${owners}.`;
}

function isAlertUndelivered({ state, error }: AlertRow): boolean {
  return state === 'parked' || (state === 'pending' && error !== null);
}

/** An alert whose delivery has failed is never shown as “being sent”. */
function renderAlertDeliveryState(row: AlertRow) {
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
      <p class="quiet">{alert.todo}</p>
    </>
  );
}

function describeAlert({ kind, node, limit, window, threshold, limit_usd, subject, country }: AlertRow): string {
  const who = node.type === 'deployment' ? 'The deployment' : node.id;
  switch (kind) {
    case 'threshold':
      return `${who} has ${threshold === 1 ? 'used up' : `passed ${formatPercentage(threshold ?? 0)} of`} ${formatExactUsd(limit_usd ?? 0)} (${getLimitTitle(limit ?? '').toLowerCase()}, ${window})`;
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
      return `${who} has spent ${formatPercentage(threshold ?? 0)} of ${formatExactUsd(limit_usd ?? 0)} (${window}) on one conversation: ${subject}`;
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
