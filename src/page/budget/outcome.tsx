import type { ListedRequest } from '../../client/index.ts';
import { describeErrorType } from '../edge/error-messages.ts';
import { identity } from '../edge/identity.ts';
import { describeEnding } from '../edge/stop-reasons.ts';
import { formatTimesInText } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { describeEdgeFailure } from './figures/edge-failures.ts';
import { getLimitTitle } from './figures/limit-names.ts';
import {
  describeFailureForOperator,
  describeRejectionForOperator,
  findFailureRemedy,
} from './figures/operator-messages.ts';
import { GroupLink } from './links.tsx';

type ReportedRejection = NonNullable<ListedRequest['refusal']>;
type RequestWithOutcome = Pick<
  ListedRequest,
  'status' | 'stop_reason' | 'error_type' | 'error_message' | 'upstream_request_id'
> & {
  refusal?: ReportedRejection | null | undefined;
};

/** Shows how a request has ended. Only this text has a colour. */
export function RequestOutcomeText({ row }: { row: RequestWithOutcome }) {
  const { refusal, status, stop_reason, error_type } = row;
  if (refusal)
    return (
      <span class="state" data-look="refused">
        {isBlockedByLimit(refusal) ? 'blocked' : 'rejected'}: <RejectingLimitText refusal={refusal} />
      </span>
    );
  if (status === 'held') return <span class="quiet">running</span>;
  if (error_type !== null)
    return (
      <span class="state" data-look="refused">
        failed: <Identifier id={error_type} />
      </span>
    );
  const ending = stop_reason ?? status;
  return (
    <span title={ending}>
      <Identifier id={describeEnding(ending)} />
    </span>
  );
}

/**
 * @returns why a request was rejected or has failed, as its caller read it, or in words for an operator; an empty text for one
 *   that went well
 */
export function describeFailureCause(request: RequestWithOutcome): string {
  const { refusal, error_type, error_message } = request;
  if (!identity.value.operator) return describeFailureCauseForCaller(request);
  if (refusal) return describeRejectionForOperator(formatTimesInText(refusal.message));
  if (error_type === null) return '';
  const cause = describeFailureForOperator(removeErrorTypeDetail(error_type), isUpstreamError(request));
  return error_message === null ? cause : `${cause} The API’s message: “${error_message}”`;
}

/** @returns why a request was refused or has failed, as its caller read it; an empty text for one that went well */
export function describeFailureCauseForCaller({ refusal, error_type, error_message }: RequestWithOutcome): string {
  if (error_type === null && !refusal) return '';
  const own = removeErrorTypeDetail(error_type ?? '');
  const said = refusal
    ? formatTimesInText(refusal.message)
    : (describeEdgeFailure(own) ?? error_message ?? describeErrorType(own));
  return said.replaceAll('`', '');
}

/** @returns whether a request has failed by an error that the upstream itself has answered: its caller read that one's words */
export function isUpstreamError({ status, error_type, upstream_request_id }: RequestWithOutcome): boolean {
  const isOwn = describeEdgeFailure(removeErrorTypeDetail(error_type ?? '')) !== undefined;
  return status === 'refused_upstream' && upstream_request_id !== null && !isOwn;
}

/** Removes the part after a colon, which is for the log. */
function removeErrorTypeDetail(errorType: string): string {
  return errorType.split(':', 1).join('');
}

/** @returns whether a limit is 0, which rejects all requests: one of requests is never too small for one otherwise */
function isBlockedByLimit({ limit, reason, never }: ReportedRejection): boolean {
  return never && (reason === 'concurrency' || (reason === 'rate' && limit.endsWith('requests_per_minute')));
}

/** Shows which limit rejected the request, and its owner. */
function RejectingLimitText({ refusal }: { refusal: ReportedRejection }) {
  const { limit, limited_by, group, reason, never } = refusal;
  if (reason === 'unpriced') return <>a model without a price</>;
  if (reason === 'model') return <>a model that is not allowed</>;
  if (limited_by === '' || limit === '') return <>busy</>;
  const title = getLimitTitle(limit).toLowerCase();
  if (limited_by === 'account')
    return (
      <>
        {title}
        {isBlockedByLimit(refusal) ? ' is 0' : never && ' too small'}
      </>
    );
  if (limited_by === 'deployment') return <>{title}, of the deployment</>;
  if (group === undefined)
    return (
      <>
        {title} ({limited_by})
      </>
    );
  return (
    <>
      {title}, of group {identity.value.operator ? <GroupLink group={group} /> : group}
    </>
  );
}

/** @returns what to do about a failed request, and who can do it */
export function suggestFailureRemedy({ error_type }: RequestWithOutcome): string {
  return findFailureRemedy(removeErrorTypeDetail(error_type ?? ''));
}

/** @returns what an operator can do about a rejection, by what has happened */
export function suggestRejectionRemedy(refusal: ReportedRejection): string {
  const { limited_by, group, limit, reason, never } = refusal;
  const title = getLimitTitle(limit);
  const wait = never ? '' : ', or wait until it resets';
  switch (reason) {
    case 'unpriced':
      return 'Add the model and its price to the setting PRICES, or ask the caller to use another model.';
    case 'model':
      return limited_by === 'token'
        ? 'Create a token that can use the model.'
        : 'Add the model to the account’s limit “Models”.';
    case 'requests':
      return 'The token has reached its limit of requests. Create another token.';
    case 'storage':
      return `Raise the account’s limit “${title}”, or ask the caller to delete stored data.`;
    case 'concurrency':
      if (isBlockedByLimit(refusal)) return `Raise the account’s limit “${title}”, which is 0.`;
      return `The caller can send the request again when another request has ended. Raise “${title}” if this happens often.`;
    case 'held':
      return 'Running requests hold the budget. The caller can send the request again when they have ended.';
    case 'rate':
      if (isBlockedByLimit(refusal)) return `Raise the account’s limit “${title}”, which is 0.`;
      return never
        ? `The request is larger than the account’s limit “${title}”. Raise the limit, or ask the caller to send less.`
        : `The caller can send the request again in a moment. Raise the account’s limit “${title}” if this happens often.`;
    case 'spend':
      return suggestBudgetRemedy(limited_by, group === undefined ? 'its group' : `group ${group}`, limit, title, wait);
  }
}

function suggestBudgetRemedy(limitOwner: string, itsGroup: string, limit: string, title: string, wait: string): string {
  // `usd_total` never resets, so do not suggest waiting.
  const orWait = limit === 'usd_total' ? '' : wait;
  switch (limitOwner) {
    case 'group':
      return `Raise “${title}” of ${itsGroup}${orWait}.`;
    case 'deployment':
      return `Raise “${title}” of the deployment in Overview${orWait}.`;
    case 'token':
      return 'The token has used up its own limit. Create a token with a higher limit.';
    case 'run':
      return 'The caller can send a larger max_usd.';
    case '':
      return 'Too many requests needed the shared budget at once. The caller can send the request again.';
    default:
      return limit === 'usd_total'
        ? 'Give the account credit, or raise “Dollars in total”.'
        : `Raise the account’s “${title}”${orWait}.`;
  }
}
