/** Reads a message without a conversation: which agent it asks, and what goes up of it. */
import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../auth/context.ts';
import type { Identity } from '../auth/identity/caller.ts';
import { hidesTools } from '../auth/identity/only.ts';
import { joinedBetas } from '../claude/headers.ts';
import { defaultedRequest } from '../claude/messages.schema.ts';
import type { Nanodollars } from '../claude/pricing/cost.ts';
import { checkMembers, readOption, refuseKept, refuseWithoutAgent, withoutMembers } from '../claude/request/members.ts';
import type { Upstream } from '../claude/upstream.ts';
import type { MessageDefaults } from '../config/message-defaults.ts';
import { type ChosenModel, OF_AGENT } from '../conversations/history/agent-in-use.ts';
import { breakpointsFor, mostOf } from '../conversations/history/asked-request.ts';
import type { SentMessage } from '../conversations/history/continuation.ts';
import { agentMeant, guard, refuseOtherConversation } from '../conversations/history/guard.ts';
import { BREAKPOINT } from '../conversations/history/storage/message-text.ts';
import { refOf } from '../conversations/history/storage/rows.ts';
import { type FoundAgent, findAgent, refuseBoth } from '../conversations/object/initial-context.ts';
import type { JsonBody } from '../kit/http/body/json-body.ts';
import { closedToBound } from '../kit/http/errors.ts';
import { withOneReading, withText } from '../kit/http/read-json.ts';
import { validate } from '../kit/http/validate.ts';
import { edit, memberTexts } from '../kit/json/edit.ts';
import { isObject, type Json } from '../kit/json/object.ts';
import { type DimensionValues, dimensionValue } from '../money/contracts/dimensions.ts';
import { refuseRun } from '../registry/tools/check-tools.ts';

/** A message without a conversation. */
export interface StatelessMessage {
  /** The body, with the parts of the agent. */
  body: JsonBody;
  /** The request whose headers and query go up. */
  caller: Request;
  agent?: FoundAgent | undefined;
  /** How its model was chosen, if the agent chooses. */
  chosen?: ChosenModel | undefined;
  about?: DimensionValues | undefined;
  /** What the answer may cost, if the agent or the message limits that. */
  most?: Nanodollars | undefined;
}

/** There is no conversation from which it could take more. */
export const NOTHING_INHERITED = { system: undefined, tools: undefined };

/**
 * Finds the agent that a request without a conversation names.
 *
 * @param fallback the agent of a request that names neither an agent nor a prefix
 * @returns undefined if it names none
 * @throws ApiError 400 for a prefix beside it, and for tools of no agent; 403 for what a restricted token may not ask; 404 for an
 *   unknown agent
 */
export async function agentAsked(
  c: Context<AppEnv>,
  headers: Headers,
  body: Json,
  fallback?: string,
): Promise<FoundAgent | undefined> {
  const identity = c.get('identity');
  const prefix = readOption('prefix', headers, body);
  const named = readOption('agent', headers, body) ?? (prefix === undefined ? fallback : undefined);
  const { agent, agent_owner, agent_listed } = agentMeant(identity, named);
  let found: FoundAgent | undefined;
  if (agent !== undefined) {
    refuseBoth({ agent, prefix });
    const place = { env: c.env, settings: c.get('settings') };
    found = await findAgent(place, identity, agent, agent_owner, agent_listed);
  } else refuseWithoutAgent(body);
  const refused = identity.only && guard().refusalOfAgent(identity, found?.agent);
  if (refused) throw refused;
  return found;
}

/** @throws ApiError 400 for messages that are none; 403 for those that a restricted token may not send */
export function checkStatelessMessages({ only }: Identity, body: Json): void {
  const { messages } = validate(defaultedRequest, body);
  if (only) guard().checkMessages(messages as SentMessage[], new Set());
}

/**
 * Puts a message without a conversation behind the agent that it names: what goes up is what the first turn of a conversation
 * of that agent would send. A message that names none does not change.
 *
 * @throws ApiError 400 for what needs a conversation, and for what the agent does not allow; 403 for what a restricted token may not
 *   ask; 404 for an unknown agent
 */
export async function statelessMessage(
  c: Context<AppEnv>,
  body: JsonBody,
  { upstream, defaults }: { upstream: Upstream; defaults: MessageDefaults | undefined },
): Promise<StatelessMessage> {
  const identity = c.get('identity');
  const { raw } = c.req;
  const isBound = identity.only !== undefined;
  refuseOtherConversation(identity, '');
  const caller = isBound ? guard().call(raw) : raw;
  const sent = isBound ? guard().body(body) : body;
  checkMembers(caller.headers, sent.json);
  refuseKept(caller.headers, sent.json);
  refuseRun(sent.json);
  const found = await agentAsked(c, caller.headers, sent.json, defaults?.agent);
  if (!found) return { body: withoutAsked(sent), caller };
  checkStatelessMessages(identity, sent.json);
  const { agent, stored } = found;
  c.get('entry').line.agent = refOf(agent);
  const read = withOneReading(sent, 'everywhere');
  // A restricted token sends no breakpoints of its own.
  const { used, breakpoints } = breakpointsFor(isBound ? '' : read.text);
  const secrets = c.get('settings');
  const lay = (model?: string) => {
    const laid = stored.applyPrefix(memberTexts(read.text), NOTHING_INHERITED, { breakpoints, secrets, model });
    const text = edit(laid, { ...withoutMembers().all, ...(used === 0 && BREAKPOINT) });
    return { text, json: JSON.parse(text) as Json, most: mostOf(memberTexts(laid)) };
  };
  let { text, json, most } = lay();
  refuseRun(json);
  const { tools, mcp_servers: servers, container } = json;
  const isServed = servers ?? container ?? (Array.isArray(tools) && tools.some(mayBeServed));
  if (hidesTools(identity.only) && isServed) {
    throw closedToBound('conversation: Field required: what the API’s own tools of this agent find is hidden there.');
  }
  // Only now: the label of what is refused would be paid in vain.
  const chosen = await stored.chooseModel({
    agent,
    named: readOption('model', caller.headers, {}),
    messages: sent.json.messages as SentMessage[],
    by: { ...contextOf(c), upstream },
  });
  if (chosen) ({ text, json, most } = lay(chosen.model));
  return {
    ...{ body: withText(sent, text, json), agent: found, chosen, most },
    about: { ...dimensionValue(OF_AGENT, refOf(agent)), ...chosen?.about },
    caller: withBetas(caller, stored.definition.betas),
  };
}

/** @returns a request that asks no agent, without what it says to plugins: that never goes up */
export function withoutAsked(sent: JsonBody): JsonBody {
  const { ofMessage } = withoutMembers();
  if (!Object.keys(ofMessage).some((name) => Object.hasOwn(sent.json, name))) return sent;
  const text = edit(sent.text, ofMessage);
  return withText(sent, text, JSON.parse(text));
}

/** @returns a call with the betas that an agent needs; then without its body */
export function withBetas(call: Request, betas: readonly string[] | undefined): Request {
  if (!betas) return call;
  const { url, method, signal } = call;
  const headers = new Headers(call.headers);
  headers.set('anthropic-beta', joinedBetas(headers.get('anthropic-beta'), betas));
  return new Request(url, { method, headers, signal });
}

/** @returns whether the API may call a tool itself. Some tools with a type of its own are the client's, but not all. */
function mayBeServed(tool: unknown): boolean {
  const { type = 'custom' } = isObject(tool) ? tool : {};
  return type !== 'custom';
}
