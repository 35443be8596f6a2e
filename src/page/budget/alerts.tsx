import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import type { AlertRow } from '../../edge/answers.ts';
import { SmallButton } from '../ui/button.tsx';
import { formatMoment, formatShare } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { AlertsForm } from './alerts-form.tsx';
import { alerts } from './figures/overview.ts';

const STATES: Record<AlertRow['state'], string> = {
  pending: 'being sent',
  delivered: 'delivered',
  parked: 'not delivered',
  kept: 'not sent: ALERT_URL is not set',
};

/** Shows the last alerts, and lets an admin choose when there is one. */
export function Alerts() {
  const rows = alerts.value;
  const asks = useSignal(false);
  return (
    <section class="panel stack" aria-labelledby="alerts">
      <header class="apart page-head">
        <h3 id="alerts">Alerts</h3>
        <SmallButton
          name={asks.value ? 'Close' : 'Choose when to be told'}
          onClick={() => (asks.value = !asks.value)}
        />
      </header>
      {asks.value && <AlertsForm />}
      {asks.value && (
        <p class="quiet">
          They are sent to the address in the setting <code>ALERT_URL</code>. Without it they are only listed here.
        </p>
      )}
      {rows === undefined || rows.length === 0 ? (
        <p class="quiet">
          {rows === undefined
            ? '…'
            : 'No alerts yet. One comes when a share of a limit is spent, and when something goes wrong.'}
        </p>
      ) : (
        <ul class="stack alerts">
          {rows.map((row) => (
            <li key={row.event_id} data-kind={row.kind}>
              <strong>{sentenceFor(row)}</strong>
              <span class="quiet">
                {formatMoment(row.created_at)} · {STATES[row.state]}
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function sentenceFor({ kind, node, limit, window, threshold, limit_usd, subject }: AlertRow): ComponentChildren {
  const who = node.type === 'deployment' ? 'The deployment' : node.id;
  switch (kind) {
    case 'threshold':
      return (
        <>
          {`${who} has spent ${formatShare(threshold ?? 0)} of `}
          <Usd value={limit_usd ?? 0} />
          {` (${limit}, ${window})`}
        </>
      );
    case 'over_hold':
      return `${who} was billed more than was set aside: ${subject}`;
    case 'webhook_parked':
      return `${node.id} gave up on an event: ${subject}`;
    case 'batch_unknown':
      return `${who}: nobody knows whether Claude has made the batch ${subject}. Look in the Console`;
    case 'key_refused':
      return `Claude refuses this deployment: ${subject}`;
    case 'key_works':
      return `Claude answers this deployment again${subject === null ? '' : `: ${subject}`}`;
  }
}
