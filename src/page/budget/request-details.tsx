import type { ListedRequest } from '../../client/index.ts';
import type { LedgerRequest } from '../../edge/answers.ts';
import { identity } from '../edge/identity.ts';
import { getModelDisplayName } from '../edge/models.ts';
import { Cost } from '../ui/cost.tsx';
import { Facts } from '../ui/facts.tsx';
import { formatCount, formatExactTime, formatMilliseconds } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { sumAllInputTokens } from './figures/input-tokens.ts';
import { shownAccount } from './figures/report.ts';
import { AccountLink, DeploymentLimitsLink, GroupLink } from './links.tsx';
import {
  describeFailureCause,
  describeFailureCauseForCaller,
  isUpstreamError,
  RequestOutcomeText,
  suggestFailureRemedy,
  suggestRejectionRemedy,
} from './outcome.tsx';
import { RequestCostLinks } from './request-links.tsx';

type ReportedRejection = NonNullable<ListedRequest['refusal']>;

interface RequestDetailsProps {
  request: Omit<ListedRequest, 'refusal'> & { refusal?: ReportedRejection | null | undefined } & Pick<
      LedgerRequest,
      'account'
    >;
}

/** Shows the details and the cost of one request, or why it was rejected and the remedy. */
export function RequestDetails({ request }: RequestDetailsProps) {
  const { request_id, account, created_at, model, route, status, refusal, error_type } = request;
  const { cost_usd, usage, ms, estimated, token, conversation, agent, tags, upstream_request_id: upstreamId } = request;
  const isPart = conversation !== null || agent !== null || Object.keys(tags).length > 0;
  return (
    <div class="stack">
      <Facts
        class="headers details"
        facts={[
          [
            'Request',
            <code key="id">
              <Identifier id={request_id} />
            </code>,
          ],
          ...(account === undefined ? [] : ([['Account', <AccountLink key="account" account={account} />]] as const)),
          ['Time', formatExactTime(created_at)],
          ['Model', getModelDisplayName(model)],
          ['Route', route],
          ['Outcome', <RequestOutcomeText key="outcome" row={request} />],
          ...(upstreamId === null
            ? []
            : ([
                [
                  'Upstream request',
                  <code key="upstream">
                    <Identifier id={upstreamId} />
                  </code>,
                ],
              ] as const)),
          ...(status === 'refused'
            ? []
            : ([
                ['Cost', [<Cost key="cost" value={cost_usd} />, estimated && ' (estimated)']],
                ...(ms === null
                  ? []
                  : ([
                      ['Tokens', describeTokens(usage)],
                      ['Duration', formatMilliseconds(ms)],
                    ] as const)),
              ] as const)),
          ...(token === null
            ? []
            : ([
                [
                  'Token',
                  <code key="token">
                    <Identifier id={token} />
                  </code>,
                ],
              ] as const)),
          ...(isPart ? ([['Attributed to', <RequestCostLinks key="attributed to" request={request} />]] as const) : []),
        ]}
      />
      {refusal && <RejectionExplanation request={request} refusal={refusal} />}
      {!refusal && error_type !== null && <FailureExplanation request={request} />}
    </div>
  );
}

/** @returns the tokens of a request, such as `767 input (634 from the cache), 127 output`: a narrow list has no columns for them */
function describeTokens(usage: ListedRequest['usage']): string {
  const written = usage.cache_write_5m_input_tokens + usage.cache_write_1h_input_tokens;
  const cache = [
    ...(usage.cache_read_input_tokens > 0 ? [`${formatCount(usage.cache_read_input_tokens)} from the cache`] : []),
    ...(written > 0 ? [`${formatCount(written)} written to the cache`] : []),
  ].join(', ');
  return `${formatCount(sumAllInputTokens(usage))} input${cache && ` (${cache})`}, ${formatCount(usage.output_tokens)} output`;
}

/** Explains why a request has failed; to an operator also what to do, where the reason is logged, and what the caller received. */
function FailureExplanation({ request }: RequestDetailsProps) {
  if (!identity.value.operator) return <p>{describeFailureCause(request)}</p>;
  return (
    <div>
      <p>
        {describeFailureCause(request)}
        {request.error_message === null && (
          <>
            {' '}
            For details, search the log for{' '}
            <code>
              <Identifier id={request.request_id} />
            </code>
            .
          </>
        )}
      </p>
      <p class="quiet">What to do: {suggestFailureRemedy(request)}</p>
      <p class="quiet">
        {isUpstreamError(request)
          ? 'The caller received the upstream’s error message.'
          : `The caller received: ${describeFailureCauseForCaller(request)}`}
      </p>
    </div>
  );
}

/** Explains why a request was rejected, and what an operator can do. */
function RejectionExplanation({ request, refusal }: RequestDetailsProps & { refusal: ReportedRejection }) {
  return (
    <div>
      <p>{describeFailureCause(request)}</p>
      {identity.value.operator && (
        <p class="quiet">
          What to do: {suggestRejectionRemedy(refusal)} <RejectingLimitLink request={request} refusal={refusal} />
        </p>
      )}
    </div>
  );
}

/** Links to the limit that rejected a request, where the page has it. */
function RejectingLimitLink({ request, refusal }: RequestDetailsProps & { refusal: ReportedRejection }) {
  const { limited_by, group, limit } = refusal;
  const { account = shownAccount.value } = request;
  if (limited_by === 'deployment') return <DeploymentLimitsLink />;
  if (limited_by === 'group' && group !== undefined) return <GroupLink group={group} name="Limits of the group" />;
  if (limit === '') return null;
  return (
    <AccountLink account={account} name={limited_by === 'token' ? 'Tokens of the account' : 'Limits of the account'} />
  );
}
