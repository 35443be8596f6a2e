import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { encodePathSegment } from '../../client/transport.ts';
import type { CreditRow, ServedRoutePath } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { findFaultyField } from '../edge/field-fault.ts';
import { identity } from '../edge/identity.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { refreshAllPolls } from '../edge/poll.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { formatExactUsd, formatRowTime } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { CREDIT_FIELDS_ID } from './links.tsx';

const CREDIT_COLUMNS: readonly ListColumn<CreditRow>[] = [
  { name: 'Given', kind: 'text', renderCell: ({ created_at }) => formatRowTime(created_at) },
  { name: 'Credit', kind: 'number', renderCell: ({ usd }) => formatExactUsd(usd) },
  { name: 'Left', kind: 'number', renderCell: ({ usd, left_usd }) => <Usd isSum of={usd} value={left_usd} /> },
  { name: 'Note', kind: 'text', renderCell: ({ note, expires_at }) => describeCreditNote(note, expires_at) },
];
const CREDIT_FORM_FIELDS = ['usd', 'note'];

/**
 * Adds credit to an account, and lists earlier credit. @param hasTotal whether a total limit is in force, to which credit adds
 */
export function Credit({ account, hasTotal }: { account: string; hasTotal: boolean }) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const notice = useSignal('');
  const form = useRef<HTMLElement>(null);
  // Send the same idempotency key until the edge has responded, so that pressing the button again does not add the credit
  // twice.
  const key = useRef(crypto.randomUUID());
  const path: ServedRoutePath = `/accounts/${encodePathSegment(account)}/credit`;
  const giveCredit = (data: FormData) => {
    notice.value = '';
    return run(async () => {
      const usd = Number(data.get('usd'));
      const note = String(data.get('note')).trim();
      const body = { usd, ...(note === '' ? {} : { note }) };
      await readJson(path, { method: 'POST', body, headers: { 'idempotency-key': key.current } });
      key.current = crypto.randomUUID();
      form.current?.querySelector('form')?.reset();
      notice.value = `${formatCreditAmount(usd)}.`;
      announceToScreenReader(`${formatCreditAmount(usd)} to ${account}.`);
      refreshAllPolls();
    });
  };
  const shownFault = findFaultyField(fault.value ?? '', CREDIT_FORM_FIELDS);
  return (
    <section ref={form} class="panel stack" aria-labelledby="credit">
      <h3 id="credit">Credit</h3>
      {!hasTotal && (
        <p class="quiet">
          Credit adds to the limit “Dollars in total”, which this account does not have. For a prepaid account, set this
          limit to 0.
        </p>
      )}
      {identity.value.admin && (
        <Form onSubmit={(data) => void giveCredit(data)}>
          <div class="fields" id={CREDIT_FIELDS_ID}>
            <Field label="Dollars of credit" fault={shownFault.field === 'usd' ? shownFault.message : undefined}>
              {(ids) => <input {...ids} name="usd" type="number" step="any" required />}
            </Field>
            <Field label="Note" fault={shownFault.field === 'note' ? shownFault.message : undefined}>
              {(ids) => <input {...ids} name="note" maxLength={512} autocomplete="off" placeholder="Purpose" />}
            </Field>
          </div>
          {fault.value && !shownFault.field && <FaultMessage text={shownFault.message} />}
          <p class="row">
            <SubmitButton name="Give credit" disabled={busy.value} /> <span class="quiet">{notice.value}</span>
          </p>
        </Form>
      )}
      <PolledList<CreditRow>
        name="Credits"
        path={path}
        columns={CREDIT_COLUMNS}
        row={{ getKey: ({ id }) => id }}
        empty="No credit yet."
      />
    </section>
  );
}

function formatCreditAmount(usd: number): string {
  return usd < 0 ? `${formatExactUsd(-usd)} of credit was taken back` : `${formatExactUsd(usd)} of credit was given`;
}

function describeCreditNote(note: string | null, expiresAt: string | null): string {
  return [note ?? [], expiresAt === null ? [] : `until ${formatRowTime(expiresAt)}`].flat().join(' · ');
}
