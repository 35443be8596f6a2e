import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../auth/context.ts';
import { defineRoute } from '../auth/route.ts';
import { COUNT_TIMEOUT_MS } from '../claude/count-tokens.ts';
import { countRequest } from '../claude/messages.schema.ts';
import { createModelHintHeaders } from '../claude/models/model-hint.ts';
import { computeInputCosts } from '../claude/pricing/cost.ts';
import { relayRequest } from '../claude/relay.ts';
import { checkRequestFields, fieldRemovals, readRequestField } from '../claude/request/all-fields.ts';
import { findReferencedIds } from '../claude/request/referenced-ids.ts';
import { createUpstreamBody } from '../claude/request/upstream-body.ts';
import { getUpstreamOfContext } from '../claude/upstream.ts';
import { getMessageDefaults, type MessageDefaults } from '../config/message-defaults.ts';
import { checkConversationAllowed, getRestrictedTokenGuard } from '../conversations/history/guard.ts';
import { conversationRequest } from '../conversations/object/conversations.schema.ts';
import { fetchPromptToCount } from '../conversations/object/turn-proxy.ts';
import { restoreEdgeCallsInBody } from '../conversations/views/edge-blocks.ts';
import type { JsonBody } from '../kit/http/body/json-body.ts';
import { ApiError } from '../kit/http/errors.ts';
import { removeRepeatedKeysFromBody, replaceBodyText } from '../kit/http/read-json.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import * as z from '../kit/http/zod.ts';
import { editJson, parseMemberTexts } from '../kit/json/edit.ts';
import type { JsonObject } from '../kit/json/object.ts';
import { createEndHeaders, createOutcomeLogger } from '../money/admission/answer-end.ts';
import { raiseAlertOnKeyChange } from '../money/admission/attempt-settlement.ts';
import { requireResourcesOwnedByAccount } from '../money/admission/check-owned.ts';
import { readJsonBodyToForward } from '../money/admission/read-body.ts';
import { admitTokenCount } from '../money/admission/reserve-attempt.ts';
import { expandPrefixOfRequest } from '../registry/prefixes/resolve.ts';
import { validateRunTools } from '../registry/tools/check-tools.ts';
import { findEdgeTools, hasEdgeTools } from '../registry/tools/edge-tools.ts';
import type { TokenCountResponse } from './count-tokens-answers.schema.ts';
import {
  addBetasToRequest,
  addMessageDefaults,
  findRequestedAgent,
  NOTHING_INHERITED,
  removeEdgeFields,
  requireAllowedMessages,
  requireModel,
} from './stateless-message.ts';

/** The routes that count the tokens of a prompt, and say what the count means for its model. */
export const COUNT_ROUTES = [
  defineRoute(
    'POST /count-tokens',
    { needs: 'messages', openToRestrictedTokens: true, checksRevocation: true, body: countRequest },
    (c) => handleTokenCountRequest(c, true),
  ),
  defineRoute(
    'POST /v1/messages/count_tokens',
    { needs: 'messages', openToRestrictedTokens: true, checksRevocation: true, body: countRequest },
    (c) => handleTokenCountRequest(c, false),
  ),
];

/** What is read of the upstream's answer. */
const upstreamCount = z.looseObject({ input_tokens: z.number() });

async function handleTokenCountRequest(c: Context<AppEnv>, isSluiceRoute: boolean): Promise<Response> {
  const context = getRequestContext(c);
  const { requestId, settings, waitUntil } = context;
  const upstream = getUpstreamOfContext(c);
  const isRestricted = c.get('identity').only !== undefined;
  const whole = removeRepeatedKeysFromBody(
    await readJsonBodyToForward(c, 'count'),
    isRestricted ? 'everywhere' : 'outermost',
  );
  const caller = isRestricted ? getRestrictedTokenGuard().stripRequest(c.req.raw) : c.req.raw;
  const { ids, body: sent } = findReferencedIds(
    isRestricted ? getRestrictedTokenGuard().filterRequestBody(whole) : whole,
  );
  const requiredUpstream = await requireResourcesOwnedByAccount(context, ids);
  const defaults = getMessageDefaults(c.get('identity'), settings, { isSluiceRoute, body: sent.json });
  const { body, betas } = await buildPromptToCount(c, caller.headers, sent, defaults);
  if (isSluiceRoute) requireModel(body.json, settings);
  const request = validateBySchema(countRequest, body.json);
  const name = settings.models.resolveAlias(request.model);
  c.get('entry').line.model = name.slice(0, 128);
  const quota = await admitTokenCount({ ...context, route: 'count-tokens', model: name });
  const changes: Record<string, string> = name === request.model ? {} : { model: JSON.stringify(name) };
  const routing = { model: name, streams: false, isQuick: true, requiredUpstream };
  let answeredBy: string | undefined;
  const recordUpstreamAndReleaseBody = (name: string | undefined) => {
    answeredBy = name;
    c.get('bodyMemory').releaseMemory();
  };
  const wholeMs = Math.min(settings.UPSTREAM_TIMEOUT_MS, COUNT_TIMEOUT_MS);
  const response = await relayRequest(
    {
      path: '/v1/messages/count_tokens',
      isCount: true,
      body: (more) => createUpstreamBody(body, { ...changes, ...more }),
      caller: addBetasToRequest(caller, betas),
      routing,
    },
    {
      upstream,
      settings: { ...settings, UPSTREAM_TIMEOUT_MS: wholeMs },
      wholeMs,
      requestId,
      waitUntil,
      onEnd: createOutcomeLogger(c),
      onHeaders: recordUpstreamAndReleaseBody,
    },
  ).finally(() => raiseAlertOnKeyChange(context, upstream));
  const hint = isRestricted ? {} : createModelHintHeaders(response.status, name, settings.models);
  const extra = { ...quota, ...createEndHeaders(answeredBy), ...hint };
  for (const [header, value] of Object.entries(extra)) response.headers.set(header, value);
  if (!response.ok) return response;
  const counted = upstreamCount.safeParse(await response.json()).data;
  if (!counted) throw new ApiError('api_error', 'The upstream’s token count could not be read. Try again.');
  // Return only the number of tokens to a restricted token: the other fields would reveal the model.
  if (isRestricted) return Response.json({ input_tokens: counted.input_tokens }, { headers: response.headers });
  const model = settings.models.findRow(name);
  const meaning: TokenCountResponse = {
    ...counted,
    context_window: model?.max_input_tokens ?? null,
    fits: model ? counted.input_tokens <= model.max_input_tokens : null,
    cost_usd: model ? computeInputCosts(counted.input_tokens, model) : null,
  };
  return Response.json(meaning, { headers: response.headers });
}

/**
 * @returns the prompt to count: the request, with its conversation's history, and its prefix or its agent before it; and the betas
 *   of the agent
 */
async function buildPromptToCount(
  c: Context<AppEnv>,
  headers: Headers,
  sent: JsonBody,
  defaults: MessageDefaults | undefined,
): Promise<{ body: JsonBody; betas?: readonly string[] | undefined }> {
  const identity = c.get('identity');
  checkRequestFields(headers, sent.json);
  const id = readRequestField('conversation', headers, sent.json);
  validateRunTools(sent.json, identity, c.get('settings'));
  if (id !== undefined) {
    validateBySchema(conversationRequest, sent.json);
    const prompt = await fetchPromptToCount(c, headers, sent, { id, defaults });
    if (prompt) return prompt;
    // The conversation does not exist yet, so count this request as its first turn.
    const text = editJson(sent.text, { ...fieldRemovals().ofCount, stream: undefined, max_tokens: undefined });
    sent = replaceBodyText(sent, text, JSON.parse(text) as JsonObject);
  }
  const agent = (await findRequestedAgent(c, headers, sent.json, defaults?.agent))?.stored;
  if (id === undefined) checkConversationAllowed(identity, undefined);
  if (!agent) {
    const { model } = defaults ?? {};
    const { body, prefix } = await expandPrefixOfRequest(c, await toPromptSentToModel(removeEdgeFields(sent)), {
      counts: true,
      defaultsWithPrefix: { model },
    });
    return { body: prefix === undefined ? addMessageDefaults(body, defaults, ['model', 'system']) : body };
  }
  requireAllowedMessages(identity, sent.json);
  const how = { maxBreakpoints: 0, counts: true, settings: c.get('settings') };
  const withAgent = agent.buildRequestWithAgent(parseMemberTexts(sent.text), NOTHING_INHERITED, how);
  const text = editJson(withAgent, { stream: undefined });
  return {
    body: await toPromptSentToModel(replaceBodyText(sent, text, JSON.parse(text))),
    betas: agent.definition.betas,
  };
}

/** @returns a prompt as the model gets it: without `run` in tools, and with the edge's shown calls turned back */
async function toPromptSentToModel(whole: JsonBody): Promise<JsonBody> {
  const body = await restoreEdgeCallsInBody(whole);
  if (!hasEdgeTools(body.json.tools)) return body;
  const sent = findEdgeTools(parseMemberTexts(body.text).get('tools'))?.sent;
  if (sent === undefined) return body;
  return replaceBodyText(body, editJson(body.text, { tools: sent }), { ...body.json, tools: JSON.parse(sent) });
}
