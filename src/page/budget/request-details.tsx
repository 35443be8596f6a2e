import type { ListedRequest } from '../../client/index.ts';
import type { LedgerRequest } from '../../edge/answers.ts';
import { nameOf } from '../edge/models.ts';
import { Facts } from '../ui/facts.tsx';
import { formatMoment, sayTimes } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { CostLinks } from './cost-links.tsx';
import { showAccount } from './figures/report.ts';

type Refusal = NonNullable<ListedRequest['refusal']>;

interface RequestDetailsProps {
  request: Omit<ListedRequest, 'refusal'> & { refusal?: Refusal | null | undefined } & Pick<LedgerRequest, 'account'>;
}

/** Shows what one request was, what it cost, or why it was refused and what helps. */
export function RequestDetails({ request }: RequestDetailsProps) {
  const { request_id, account, created_at, model, route, status, refusal, error_type } = request;
  const { cost_usd, estimated, token } = request;
  return (
    <div class="stack">
      <Facts
        class="headers details"
        facts={[
          ['Request', <code key="id">{request_id}</code>],
          ...(account === undefined ? [] : ([['Account', <AccountLink key="account" account={account} />]] as const)),
          ['Time', formatMoment(created_at)],
          ['Model', nameOf(model)],
          ['Route', route],
          ['Outcome', status === 'held' ? 'running' : (error_type ?? status)],
          ...(status === 'refused'
            ? []
            : ([['Cost', [<Usd key="cost" value={cost_usd} />, estimated && ' (estimated)']]] as const)),
          ...(token === null ? [] : ([['Token', <code key="token">{token}</code>]] as const)),
          ['Part of', <CostLinks key="part of" request={request} />],
        ]}
      />
      {refusal && <WhyRefused refusal={refusal} />}
    </div>
  );
}

/** Leads to what is shown of an account. */
export function AccountLink({ account }: { account: string }) {
  return (
    <button type="button" class="link" onClick={() => showAccount(account)}>
      {account}
    </button>
  );
}

/** Says why a request was refused, as its caller was told, and what an operator can do. */
function WhyRefused({ refusal }: { refusal: Refusal }) {
  return (
    <div>
      <p>{sayTimes(refusal.message)}</p>
      <p class="quiet">{helpFor(refusal)}</p>
    </div>
  );
}

const HELP: Readonly<Record<string, string>> = {
  '': 'Nothing has to be raised: many asked for the shared budget at once. It can be sent again.',
  group: 'Raise the limit of its group under Accounts.',
  deployment: 'Raise the limit of the whole deployment with PUT /pools/deployment/limits, or in DEPLOYMENT_LIMITS.',
  token: 'Its token has a limit of its own. Mint one that may spend more under Accounts, Tokens.',
};

function helpFor({ limited_by, limit }: Refusal): string {
  const own =
    limit === 'models'
      ? 'Add the model to the account’s limit models with PATCH /accounts/:id/limits.'
      : `Raise ${limit} of the account under Accounts, Limits, or wait until there is room again.`;
  return `What helps: ${HELP[limited_by] ?? own}`;
}
