import { useSignal } from '@preact/signals';
import type { LedgerRequest } from '../../accounts/usage-answers.schema.ts';
import { useAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { Form, SubmitButton } from '../ui/form.tsx';
import { formatMoment, formatUsd } from '../ui/format.ts';

/** Finds a request by its id, whosever it is, and says what it cost or why it was refused. */
export function FindRequest() {
  const found = useSignal<LedgerRequest | undefined>(undefined);
  const { fault, run } = useAction();
  const find = async (id: string) => {
    found.value = undefined;
    await run(async () => {
      if (id !== '') found.value = await readJson<LedgerRequest>(`/usage/requests/${encodeURIComponent(id)}`);
    });
  };
  return (
    <section class="panel stack" aria-labelledby="find-request">
      <h3 id="find-request">Find a request</h3>
      <Form class="inline" onSubmit={(data) => void find(String(data.get('request')).trim())}>
        <input
          name="request"
          aria-label="Request id"
          placeholder="req_…"
          autocomplete="off"
          spellcheck={false}
          required
        />
        <SubmitButton name="Find" kind="plain" />
      </Form>
      {fault.value && <Fault text={fault.value} />}
      {found.value && <Found request={found.value} />}
    </section>
  );
}

function Found({ request }: { request: LedgerRequest }) {
  const { created_at, model, route, status, refusal, cost_usd, estimated, tags, error_type } = request;
  const named = Object.entries(tags).map(([name, value]) => `${name}=${value}`);
  return (
    <div class="stack" role="status">
      <Facts
        facts={[
          ['At', formatMoment(created_at)],
          ['Model', model],
          ['Route', route],
          ['Ended', status === 'refused' ? 'refused' : (error_type ?? status)],
          ['Cost', `${formatUsd(cost_usd)}${estimated ? ' (estimated)' : ''}`],
          ...(named.length > 0 ? ([['Tags', named.join(', ')]] as const) : []),
        ]}
      />
      {refusal && <p>{refusal.message}</p>}
    </div>
  );
}
