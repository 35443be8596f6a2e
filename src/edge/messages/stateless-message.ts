/** Reads a message without a conversation: which agent it names, and which body is sent. */
import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../auth/context.ts';
import type { Identity } from '../auth/identity/caller.ts';
import { shouldHideToolContents } from '../auth/identity/only.ts';
import { joinBetas } from '../claude/headers.ts';
import { defaultedRequest } from '../claude/messages.schema.ts';
import type { Nanodollars } from '../claude/pricing/cost.ts';
import { findDefaultModel } from '../claude/pricing/default-model.ts';
import {
  checkRequestFields,
  fieldRemovals,
  readRequestField,
  rejectAgentFields,
  rejectConversationFields,
} from '../claude/request/all-fields.ts';
import { createCacheControl } from '../claude/request/cache-breakpoints.ts';
import type { Upstream } from '../claude/upstream.ts';
import { applyMessageDefaults, createModelRequiredMessage, type MessageDefaults } from '../config/message-defaults.ts';
import type { Settings } from '../config/settings.ts';
import { type ChosenModel, OF_AGENT } from '../conversations/history/agent-in-use.ts';
import type { SentMessage } from '../conversations/history/continuation.ts';
import {
  checkConversationAllowed,
  getRestrictedTokenGuard,
  resolveRequestedAgent,
} from '../conversations/history/guard.ts';
import { countAvailableBreakpoints, readMaxCost } from '../conversations/history/resolved-request.ts';
import { formatVersionReference } from '../conversations/history/storage/rows.ts';
import { type FoundAgent, findAgent, rejectPrefixWithAgent } from '../conversations/object/initial-context.ts';
import type { JsonBody } from '../kit/http/body/json-body.ts';
import { createInvalidRequestError, createRestrictedTokenError } from '../kit/http/errors.ts';
import { removeRepeatedKeysFromBody, replaceBodyText } from '../kit/http/read-json.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import { editJson, parseMemberTexts } from '../kit/json/edit.ts';
import { isObject, type JsonObject } from '../kit/json/object.ts';
import { createDimensionValue, type DimensionValues } from '../money/contracts/dimensions.ts';
import { rejectRunToolsWithoutConversation } from '../registry/tools/check-tools.ts';

/** A message without a conversation. */
export interface PreparedStatelessMessage {
  /** The body, with the parts of the agent. */
  body: JsonBody;
  /** The request whose headers and query are sent. */
  caller: Request;
  agent?: FoundAgent | undefined;
  /** How its model was chosen, if the agent chooses. */
  chosen?: ChosenModel | undefined;
  dimensions?: DimensionValues | undefined;
  /** What the answer may cost, if the agent or the message limits that. */
  costLimit?: Nanodollars | undefined;
}

/** The inherited prompt of a request without a conversation: none. */
export const NOTHING_INHERITED = { system: undefined, tools: undefined };

/**
 * Finds the agent that a request without a conversation names.
 *
 * @param fallback the agent of a request that names neither an agent nor a prefix
 * @returns undefined if it names none
 * @throws ApiError 400 for a prefix beside it, and for tools of no agent; 403 for what a restricted token may not ask; 404 for an
 *   unknown agent
 */
export async function findRequestedAgent(
  c: Context<AppEnv>,
  headers: Headers,
  body: JsonObject,
  fallback?: string,
): Promise<FoundAgent | undefined> {
  const identity = c.get('identity');
  const prefix = readRequestField('prefix', headers, body);
  const named = readRequestField('agent', headers, body) ?? (prefix === undefined ? fallback : undefined);
  const { agent, agent_owner, agent_listed } = resolveRequestedAgent(identity, named);
  let found: FoundAgent | undefined;
  if (agent !== undefined) {
    rejectPrefixWithAgent({ agent, prefix });
    const services = { env: c.env, settings: c.get('settings') };
    found = await findAgent(services, identity, agent, agent_owner, agent_listed);
  } else rejectAgentFields(body);
  const refused = identity.only && getRestrictedTokenGuard().findAgentRestrictionError(identity, found?.agent);
  if (refused) throw refused;
  return found;
}

/** @throws ApiError 400 for messages that are none; 403 for those that a restricted token may not send */
export function requireAllowedMessages({ only }: Identity, body: JsonObject): void {
  const { messages } = validateBySchema(defaultedRequest, body);
  if (only) getRestrictedTokenGuard().checkMessages(messages as SentMessage[], new Set());
}

/**
 * Applies an agent to a message without a conversation: the result is the request that the first turn of a conversation of that
 * agent would send. A message that names no agent does not change.
 *
 * @throws ApiError 400 for fields that need a conversation, or that the agent does not allow; 403 for requests that a
 *   restricted token may not send; 404 for an unknown agent
 */
export async function prepareStatelessMessage(
  c: Context<AppEnv>,
  body: JsonBody,
  { upstream, defaults }: { upstream: Upstream; defaults: MessageDefaults | undefined },
): Promise<PreparedStatelessMessage> {
  const identity = c.get('identity');
  const { raw } = c.req;
  const isRestricted = identity.only !== undefined;
  const caller = isRestricted ? getRestrictedTokenGuard().stripRequest(raw) : raw;
  const sent = isRestricted ? getRestrictedTokenGuard().filterRequestBody(body) : body;
  checkRequestFields(caller.headers, sent.json);
  rejectConversationFields(caller.headers, sent.json);
  rejectRunToolsWithoutConversation(sent.json);
  const found = await findRequestedAgent(c, caller.headers, sent.json, defaults?.agent);
  checkConversationAllowed(identity, undefined);
  if (!found) return { body: removeEdgeFields(sent), caller };
  requireAllowedMessages(identity, sent.json);
  const { agent, stored } = found;
  c.get('entry').line.agent = formatVersionReference(agent);
  const read = removeRepeatedKeysFromBody(sent, 'everywhere');
  // A restricted token cannot set cache breakpoints, so all of the API's breakpoints are available to the agent.
  const { used, maxBreakpoints: breakpoints } = countAvailableBreakpoints(isRestricted ? '' : read.text);
  const settings = c.get('settings');
  const applyAgentForModel = (model?: string) => {
    const complete = stored.buildRequestWithAgent(parseMemberTexts(read.text), NOTHING_INHERITED, {
      maxBreakpoints: breakpoints,
      settings,
      model,
    });
    // If the caller has placed no breakpoint, let the API place one by a `cache_control` of the request itself.
    const text = editJson(complete, {
      ...fieldRemovals().all,
      ...(used === 0 && { cache_control: JSON.stringify(createCacheControl('5m')) }),
    });
    return { text, json: JSON.parse(text) as JsonObject, costLimit: readMaxCost(parseMemberTexts(complete)) };
  };
  const withoutChoice = applyAgentForModel();
  rejectRunToolsWithoutConversation(withoutChoice.json, agent);
  if (shouldHideToolContents(identity.only)) rejectServerTools(withoutChoice.json);
  // Choose the model only after all checks, because the classifier's call is billed even if the request is then rejected.
  const chosen = await stored.chooseModel({
    agent,
    // Only the header `sluice-model` names one of the agent's models. The body's own `model` is no field of Sluice's.
    named: readRequestField('model', caller.headers, {}),
    messages: sent.json.messages as SentMessage[],
    context: { ...getRequestContext(c), upstream },
  });
  const { text, json, costLimit } = chosen ? applyAgentForModel(chosen.model) : withoutChoice;
  return {
    body: replaceBodyText(sent, text, json),
    agent: found,
    chosen,
    costLimit,
    dimensions: { ...createDimensionValue(OF_AGENT, formatVersionReference(agent)), ...chosen?.dimensions },
    caller: addBetasToRequest(caller, stored.definition.betas),
  };
}

/**
 * Removes Sluice's own fields from a request that names no agent. `prefix` and the limits of runs stay: see `fieldRemovals`.
 */
export function removeEdgeFields(sent: JsonBody): JsonBody {
  const { ofMessage } = fieldRemovals();
  if (!Object.keys(ofMessage).some((name) => Object.hasOwn(sent.json, name))) return sent;
  const text = editJson(sent.text, ofMessage);
  return replaceBodyText(sent, text, JSON.parse(text));
}

/** @returns a call with the betas that an agent needs; then without its body */
export function addBetasToRequest(call: Request, betas: readonly string[] | undefined): Request {
  if (!betas) return call;
  const { url, method, signal } = call;
  const headers = new Headers(call.headers);
  headers.set('anthropic-beta', joinBetas(headers.get('anthropic-beta'), betas));
  return new Request(url, { method, headers, signal });
}

/** @throws ApiError 403 for an agent whose tools the API may run, because a response contains their results */
function rejectServerTools({ tools, mcp_servers: servers, container }: JsonObject): void {
  if (!(servers ?? container ?? (Array.isArray(tools) && tools.some(canBeServerTool)))) return;
  throw createRestrictedTokenError(
    'conversation: Field required, because the results of this agent’s server tools can be hidden only in a conversation.',
  );
}

/** @returns whether the API may call a tool itself. Some tools with a type of its own are the client's, but not all. */
function canBeServerTool(tool: unknown): boolean {
  const { type = 'custom' } = isObject(tool) ? tool : {};
  return type !== 'custom';
}

/** @returns a body with the defaults that it lacks */
export function addMessageDefaults(
  body: JsonBody,
  defaults: MessageDefaults | undefined,
  names: readonly (keyof MessageDefaults)[],
): JsonBody {
  const { text, json } = defaults ? applyMessageDefaults(body, defaults, names) : body;
  return json === body.json ? body : replaceBodyText(body, text, json);
}

/** @throws ApiError 400 for a request without a model, which says what can be sent or set */
export function requireModel(body: JsonObject, { models }: Settings): void {
  if (body.model === undefined)
    throw createInvalidRequestError(createModelRequiredMessage(findDefaultModel(models)?.id));
}
