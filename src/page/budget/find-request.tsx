import { useSignal } from '@preact/signals';
import { SluiceError } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { LedgerRequest } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { FaultMessage } from '../ui/fault.tsx';
import { Form, SubmitButton } from '../ui/form.tsx';
import { navigateToAccount } from './links.tsx';
import { RequestDetails } from './request-details.tsx';

const UNKNOWN_REQUEST_MESSAGE =
  'No ledger contains this id. Requests that were rejected because of their token or body are only in the log. Rows older than the retention period are deleted. By the upstream’s id, you can find only failed requests of the 200 accounts that failed last.';
/** What the id of every request begins with. */
const REQUEST_ID_PREFIX = 'req_';

/**
 * Finds a request by its id, this edge's or the upstream's, whosever it is, and says what it cost or why it was refused. Any other text is the name of an
 * account, which is shown.
 */
export function FindRequest() {
  const found = useSignal<LedgerRequest | undefined>(undefined);
  const { fault, run } = useAsyncAction();
  const findRequestById = async (id: string) => {
    found.value = undefined;
    if (id !== '' && !id.startsWith(REQUEST_ID_PREFIX)) return navigateToAccount(id);
    await run(async () => {
      if (id !== '') found.value = await readLedgerRequest(id);
    });
  };
  return (
    <section class="panel stack" aria-labelledby="find-request">
      <h2 id="find-request">Open a request or account</h2>
      <Form class="inline" onSubmit={(data) => void findRequestById(String(data.get('request')).trim())}>
        <input
          name="request"
          aria-label="Request id, or account"
          placeholder="req_… or an account"
          autocomplete="off"
          spellcheck={false}
          required
        />
        <SubmitButton name="Open" kind="plain" />
      </Form>
      {fault.value && <FaultMessage text={fault.value} />}
      {found.value && (
        <div role="status">
          <RequestDetails request={found.value} />
        </div>
      )}
    </section>
  );
}

/** @throws Error that says where else to look, for an id that no ledger has */
async function readLedgerRequest(id: string): Promise<LedgerRequest> {
  try {
    return await readJson<LedgerRequest>(`/usage/requests/${encodePathSegment(id)}`);
  } catch (thrown) {
    throw thrown instanceof SluiceError && thrown.status === 404 ? new Error(UNKNOWN_REQUEST_MESSAGE) : thrown;
  }
}
