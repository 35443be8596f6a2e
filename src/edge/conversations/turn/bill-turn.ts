/** Creates the request that bills a turn. */

import type { BodyChanges } from '../../claude/providers/provider.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import { BilledRequest } from '../../money/admission/billed-request.ts';
import type { BillingContext } from '../../money/admission/request-to-bill.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import { removeThinking } from '../history/storage/message-text.ts';
import type { TurnExecutionContext } from './turn-context.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** What differs between the turns that are billed, in addition to their contexts. */
interface TurnBillingOptions {
  /** The resources that the new messages name. */
  named: readonly CreatedId[];
  fallbackModels: TurnExecutionContext['fallbackModels'];
  /** Aborted when the turn is stopped. */
  signal: AbortSignal;
  /** Called with each later attempt once it is admitted. */
  onAdmitted(attempt: BilledAttempt): void;
}

/** @returns the request of a turn, before its admission */
export function createBilledRequestOfTurn(
  turn: TurnRecorder,
  { body, model, tokenCount }: Pick<NextRequestPlan, 'body' | 'model' | 'tokenCount'>,
  context: TurnExecutionContext,
  { named, fallbackModels, signal, onAdmitted }: TurnBillingOptions,
): BilledRequest {
  return new BilledRequest(
    { ...createBillingContext(turn.row.route, context, signal), body, model, tokenCount, fallbackModels },
    {
      named,
      modelInBody: model,
      asModel: createBodyChangesForModel,
      onAdmitted,
      onReserving: (earlier) => turn.grants.storeNextAttemptId(earlier, context.now()),
    },
  );
}

/** @returns the billing fields that all attempts of the turn's request share. Others of the context are not kept in memory */
function createBillingContext(route: string, context: TurnExecutionContext, signal: AbortSignal): BillingContext {
  const { identity, previousUpstream, cachedAt } = context;
  return {
    identity,
    requestId: context.requestId,
    accounts: context.accounts,
    store: context.store,
    settings: context.settings,
    waitUntil: context.waitUntil,
    route,
    conversation: context.conversation,
    parent: context.parent,
    newCharacters: context.newCharacters,
    costLimit: context.costLimit,
    dimensions: context.dimensions,
    upstream: context.upstream,
    headers: context.headers,
    mayAccountStoreGrant: !context.background,
    streams: true,
    routing: { streams: true, account: identity.account, previousUpstream, cachedAt },
    signal,
  };
}

/** @returns the changes of a body for another model, which cannot read the thinking of the requested model. */
function createBodyChangesForModel(model: string, body: JsonBody): BodyChanges {
  const messages = splitArrayItems(parseMemberTexts(body.text).get('messages') ?? '[]');
  return { model: JSON.stringify(model), messages: `[${messages.map(removeThinking).join(',')}]` };
}
