import { useSignal } from '@preact/signals';
import { SluiceError } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { LedgerRequest } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { FaultMessage } from '../ui/fault.tsx';
import { Form, SubmitButton } from '../ui/form.tsx';
import { type ListedRequestKind, listedToken } from './figures/listed-requests.ts';
import { navigateToAccountRequests } from './links.tsx';
import { RequestDetails } from './request-details.tsx';

const UNKNOWN_REQUEST_MESSAGE =
  'No ledger contains this id. Requests that were rejected because of their token or body are only in the log. Rows older than the retention period are deleted. By the upstream’s id, you can find only failed requests of the 200 accounts that failed last.';
/** The prefix of every request id. */
const REQUEST_ID_PREFIX = 'req_';
/** The prefix of the id of every token of Sluice. */
const TOKEN_ID_PREFIX = 'tok_';

/**
 * Finds a request of any account by its id, Sluice's or the upstream's, and shows its cost or why it was rejected; or lists the
 * requests of a token. To an operator any other text is the name of an account, whose requests are listed.
 *
 * @param kind which requests of all accounts are shown, if they are; those of the account or the token are of the same kind
 */
export function RequestSearch({ kind }: { kind?: ListedRequestKind | undefined }) {
  const { operator } = identity.value;
  const found = useSignal<LedgerRequest | undefined>(undefined);
  const { fault, run } = useAsyncAction();
  const search = (text: string) =>
    run(async () => {
      found.value = undefined;
      if (text.startsWith(REQUEST_ID_PREFIX)) found.value = await readLedgerRequest(text);
      else if (!operator) listedToken.value = text;
      else if (text.startsWith(TOKEN_ID_PREFIX)) await listRequestsOfToken(text, kind);
      else if (text !== '') {
        listedToken.value = '';
        navigateToAccountRequests(text, kind);
      }
    });
  const subject = operator ? 'Request id, token id or account' : 'Request id or token id';
  return (
    <>
      <Form class="inline search" onSubmit={(data) => void search(String(data.get('text')).trim())}>
        <input
          type="search"
          name="text"
          aria-label={subject}
          placeholder={subject}
          autocomplete="off"
          spellcheck={false}
          maxLength={256}
          required
        />
        <SubmitButton name="Search" kind="plain" />
      </Form>
      {fault.value && <FaultMessage text={fault.value} />}
      {found.value && (
        <div class="panel" role="status">
          <RequestDetails request={found.value} />
        </div>
      )}
    </>
  );
}

async function listRequestsOfToken(id: string, kind: ListedRequestKind | undefined): Promise<void> {
  const { account } = await readJson<{ account: string }>(`/tokens/${encodePathSegment(id)}`);
  navigateToAccountRequests(account, kind);
  listedToken.value = id;
}

/** @throws Error that names other places to search, for an id that no ledger contains */
async function readLedgerRequest(id: string): Promise<LedgerRequest> {
  try {
    return await readJson<LedgerRequest>(`/usage/requests/${encodePathSegment(id)}`);
  } catch (thrown) {
    throw thrown instanceof SluiceError && thrown.status === 404 ? new Error(UNKNOWN_REQUEST_MESSAGE) : thrown;
  }
}
