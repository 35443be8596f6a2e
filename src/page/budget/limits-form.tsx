import { useSignal } from '@preact/signals';
import { inPath } from '../../client/transport.ts';
import type { Limits, ServedPath } from '../../edge/answers.ts';
import type { AccountQuota } from '../edge/account.ts';
import { useAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { fieldFault } from '../edge/field-fault.ts';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { account, reportedQuota } from './figures/report.ts';
import { sharesIn, sharesText } from './figures/shares.ts';

type NumberLimit = { [Name in keyof Limits]-?: NonNullable<Limits[Name]> extends number ? Name : never }[keyof Limits];

const FIELDS: readonly [NumberLimit, string][] = [
  ['usd_per_hour', 'Dollars per hour'],
  ['usd_per_day', 'Dollars per day'],
  ['usd_per_week', 'Dollars per week'],
  ['usd_per_month', 'Dollars per month'],
  ['usd_total', 'Dollars in total'],
  ['requests_per_minute', 'Requests per minute'],
  ['input_tokens_per_minute', 'Input tokens per minute'],
  ['output_tokens_per_minute', 'Output tokens per minute'],
  ['count_requests_per_minute', 'Token counts per minute'],
  ['concurrent_requests', 'Requests at a time'],
  ['conversations', 'Conversations'],
  ['stored_bytes', 'Stored bytes'],
];

/** Edits an account's own limits. An empty field means the deployment's default. */
export function LimitsForm() {
  const { fault, run } = useAction();
  const saved = useSignal('');
  const stands = reportedQuota.value;
  if (!stands) return <p class="quiet">…</p>;
  const own = stands.own_limits ?? {};
  const told = fieldFault(fault.value ?? '', [...FIELDS.map(([name]) => name), 'alerts']);
  const faultOf = (name: string) => (told.field === name ? told.said : undefined);
  const save = async (form: FormData) => {
    // Limits without a field here stay as they are.
    const limits = FIELDS.map(([name]) => {
      const value = String(form.get(name)).trim();
      return [name, value === '' ? null : Number(value)];
    });
    saved.value = '';
    await run(async () => {
      const path: ServedPath = `/accounts/${inPath(account.value)}/limits`;
      reportedQuota.value = await readJson<AccountQuota>(path, {
        method: 'PATCH',
        body: { ...Object.fromEntries(limits), alerts: sharesIn(String(form.get('alerts'))) },
      });
      saved.value = 'Saved. The list knows it within a minute.';
      announce(saved.value);
    });
  };
  return (
    <Form onSubmit={(data) => void save(data)}>
      <div class="fields">
        {FIELDS.map(([name, title]) => (
          <Field key={name} label={title} fault={faultOf(name)}>
            {(ids) => (
              <input
                {...ids}
                name={name}
                type="number"
                min={0}
                step="any"
                placeholder={stands.limits[name] === undefined ? 'no limit' : String(stands.limits[name])}
                defaultValue={own[name] === undefined ? '' : String(own[name])}
              />
            )}
          </Field>
        ))}
        <Field label="Alerts, in % of each limit in dollars" fault={faultOf('alerts')}>
          {(ids) => (
            <input
              {...ids}
              name="alerts"
              inputMode="decimal"
              autocomplete="off"
              placeholder={sharesText(stands.limits.alerts) || '50, 80, 100'}
              defaultValue={sharesText(own.alerts)}
            />
          )}
        </Field>
      </div>
      {fault.value && !told.field && <Fault text={told.said} />}
      <p class="row">
        <SubmitButton name={`Save limits of ${account.value}`} /> <span class="quiet">{saved.value}</span>
      </p>
    </Form>
  );
}
