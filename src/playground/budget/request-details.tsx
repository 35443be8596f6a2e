import type { ListedRequest } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { Facts } from '../ui/facts.tsx';
import { formatMoment, formatUsd, sayTimes } from '../ui/format.ts';

type Refusal = NonNullable<ListedRequest['refusal']>;

/** Shows what one request was, what it cost, or why it was refused and what helps. */
export function RequestDetails({
  request,
}: {
  request: Omit<ListedRequest, 'refusal'> & { refusal?: Refusal | null | undefined };
}) {
  const { request_id, created_at, model, route, status, refusal, cost_usd, estimated, tags, error_type, conversation } =
    request;
  const named = Object.entries(tags).map(([name, value]) => `${name}=${value}`);
  return (
    <div class="stack">
      <Facts
        class="headers details"
        facts={[
          ['Request', <code key="id">{request_id}</code>],
          ['At', formatMoment(created_at)],
          ['Model', nameOf(model)],
          ['Route', route],
          ['Ended', status === 'held' ? 'running' : (error_type ?? status)],
          ...(status === 'refused'
            ? []
            : ([['Cost', `${formatUsd(cost_usd)}${estimated ? ' (estimated)' : ''}`]] as const)),
          ...(conversation === null ? [] : ([['Conversation', conversation]] as const)),
          ...(named.length > 0 ? ([['Tags', named.join(', ')]] as const) : []),
        ]}
      />
      {refusal && <WhyRefused refusal={refusal} />}
    </div>
  );
}

/** Says why a request was refused, as its caller was told, and what an operator can do. */
export function WhyRefused({ refusal }: { refusal: Refusal }) {
  return (
    <div>
      <p>{sayTimes(refusal.message)}</p>
      <p class="quiet">{helpFor(refusal)}</p>
    </div>
  );
}

const HELP: Readonly<Record<string, string>> = {
  group: 'It is the limit of its group: raise it under “Accounts and groups”.',
  deployment: 'It is the limit of the whole deployment: raise it by PUT /pools/deployment/limits or DEPLOYMENT_LIMITS.',
  token: 'It is the limit of its token: mint one that may do more, under “Tokens”.',
};

function helpFor({ limited_by, limit }: Refusal): string {
  const own =
    limit === 'models'
      ? 'Add the model to the account’s limit models, by PATCH /accounts/:id/limits.'
      : `Raise ${limit} of the account under “Limits”, or wait until there is room again.`;
  return `What helps: ${HELP[limited_by] ?? own}`;
}
