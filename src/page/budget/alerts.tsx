import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { AlertRow } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { fieldFault } from '../edge/field-fault.ts';
import { identity } from '../edge/identity.ts';
import { PartFault } from '../edge/retry-fault.tsx';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { exactUsd, formatMoment, formatShare } from '../ui/format.ts';
import { alerts, alertsFault, deployment, groupNames, keepAlerts } from './figures/overview.ts';
import { type Limited, limitsOf, patchLimits } from './figures/patch-limits.ts';
import { sharesIn, sharesText } from './figures/shares.ts';

const STATES: Record<AlertRow['state'], string> = {
  pending: 'being sent',
  delivered: 'delivered',
  parked: 'not delivered',
  kept: 'not sent: ALERT_URL is not set',
};

/** Shows the last alerts, and lets an admin choose when there is one. */
export function Alerts() {
  useEffect(keepAlerts, []);
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
      <PartFault name="The list of alerts" of={alertsFault} />
      {!rows?.length ? (
        <p class="quiet">
          {rows ? 'No alerts yet. One comes when a share of a limit is spent, and when something goes wrong.' : '…'}
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

function sentenceFor({ kind, node, limit, window, threshold, limit_usd, subject }: AlertRow): string {
  const who = node.type === 'deployment' ? 'The deployment' : node.id;
  switch (kind) {
    case 'threshold':
      return `${who} has spent ${formatShare(threshold ?? 0)} of ${exactUsd(limit_usd ?? 0)} (${limit}, ${window})`;
    case 'over_hold':
      return `${who} was billed more than was set aside: ${subject}`;
    case 'webhook_parked':
      return `${node.id} gave up on an event: ${subject}`;
    case 'batch_unknown':
      return `${who}: nobody knows whether Claude has made the batch ${subject}. Look in the Console`;
    case 'batch_missing':
      return `${who}: Claude has not known the batch ${subject} for an hour. Look in the Console`;
    case 'disk_full':
      return 'Something could not be stored: the disk, or the database of an object, is full';
    case 'key_refused':
      return `Claude refuses this deployment: ${subject}`;
    case 'key_works':
      return `Claude answers this deployment again${subject === null ? '' : `: ${subject}`}`;
  }
}

/** Asks at which shares of whose limits an alert is told. */
export function AlertsForm() {
  const whose = useSignal(deployment.peek() ? 'deployment ' : `account ${identity.peek().account}`);
  const groups = useSignal<string[]>([]);
  const stored = useSignal('');
  // What somebody types while the stored shares are still on their way stays.
  const typed = useSignal<string | undefined>(undefined);
  const hasLimit = useSignal(true);
  const [reading, saving] = [useAction(), useAction()];
  const [kind, id] = chosenIn(whose.value);
  useEffect(() => {
    let isChosen = true;
    typed.value = undefined;
    void reading.run(async () => {
      const [limits, names] = await Promise.all([limitsOf(kind, id), groupNames()]);
      if (!isChosen) return;
      groups.value = names;
      stored.value = sharesText(limits.alerts);
      hasLimit.value = Object.keys(limits).some((name) => name.startsWith('usd_'));
    });
    return () => {
      isChosen = false;
    };
  }, [kind, id, reading, groups, stored, typed, hasLimit]);
  const shares = typed.value ?? stored.value;
  const save = () =>
    saving.run(async () => {
      await patchLimits(kind, id, { alerts: sharesIn(shares) });
      announce('The alerts are saved.');
    });
  const fault = saving.fault.value ?? reading.fault.value;
  const { field, said } = fieldFault(fault ?? '', ['alerts']);
  return (
    <Form onSubmit={() => void save()}>
      <div class="fields">
        <Field label="Whose limits" note="Those of another account are changed under Accounts.">
          {(ids) => (
            <Select
              {...ids}
              value={whose.value}
              options={[
                ...(deployment.value?.limits ? [['deployment ', 'All accounts together'] as const] : []),
                ...groups.value.map((name) => [`group ${name}`, `Group ${name}`] as const),
                [`account ${identity.value.account}`, `Account ${identity.value.account}`],
              ]}
              onChoose={(value) => (whose.value = value)}
            />
          )}
        </Field>
        <Field
          label="Tell at, in % of each limit in dollars"
          fault={field && said}
          note={hasLimit.value ? 'Empty: nothing is told.' : 'It has no limit in dollars of its own yet.'}
        >
          {(ids) => (
            <input
              {...ids}
              inputMode="decimal"
              placeholder="50, 80, 100"
              autocomplete="off"
              value={shares}
              onInput={(event) => (typed.value = event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
      {fault && !field && <Fault text={said} />}
      <p class="row">
        <SubmitButton name="Save alerts" disabled={saving.busy.value} />
      </p>
    </Form>
  );
}

function chosenIn(whose: string): [kind: Limited, id: string] {
  const at = whose.indexOf(' ');
  return [whose.slice(0, at) as Limited, whose.slice(at + 1)];
}
