/** Resolves a request: combines the caller's body with the agent's members and the defaults of its conversation. */

import type { ModelTable } from '../../claude/models/models.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { findDefaultModel } from '../../claude/pricing/default-model.ts';
import { rejectAgentFields } from '../../claude/request/all-fields.ts';
import { MAX_BREAKPOINTS } from '../../claude/request/cache-breakpoints.ts';
import { createModelRequiredMessage, type MessageDefaults } from '../../config/message-defaults.ts';
import type { Settings } from '../../config/settings.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { parseMemberTexts } from '../../kit/json/edit.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { ResolvedAgent } from './agent-in-use.ts';
import {
  findInheritedSystemAndTools,
  type InheritedSystemAndTools,
  type NewConversationDefaults,
} from './inherited-parts.ts';
import { removeOmittedTools } from './omitted-tools.ts';
import type { CachedHistory } from './storage/history-cache.ts';
import { countBreakpoints } from './storage/message-text.ts';
import type { ConversationProfile } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** The most cache breakpoints of a prefix or an agent. */
const MAX_PREFIX_BREAKPOINTS = 2;

export interface RequestOptions {
  /** The defaults from the prefix or agent of a new conversation. */
  initialDefaults?: NewConversationDefaults | undefined;
  /** The agent that answers the request. */
  agent?: ResolvedAgent | undefined;
  /** Used if neither the request nor its prefix or conversation sets them. */
  defaults?: MessageDefaults | undefined;
  /** The model that was chosen, if the agent chooses. Default: that of the newest turn. */
  model?: string | undefined;
  /** The header `anthropic-beta`, which can change how the API counts a prompt. */
  betas?: string | undefined;
  /** Whether the prompt is only counted. Then members about the answer are left out. */
  counts?: boolean;
  /** The time now, in milliseconds since 1970: a container may have ended. */
  now?: number;
  /** Whether it is a later step of a run. */
  isLaterStep?: boolean;
  /** Whether it is a run even without tools that the edge calls. */
  isRunEvenWithoutTools?: boolean;
  /**
   * Whether the caller's token is restricted. Then new messages may only contain questions and results of the client's tools.
   */
  isRestricted?: boolean;
  /** Whether its messages are planned a second time: then they already have the edge's results. */
  isAgain?: boolean;
  /** The names of the agent's tools that the API has just rejected. They are not sent. */
  rejectedTools?: readonly string[];
}

/** A request after the agent and the defaults were applied. */
export interface ResolvedRequest {
  /** The body that the agent makes of the caller's, or the caller's own; and the same as JSON and by its members. */
  text: string;
  json: JsonObject;
  members: Map<string, string>;
  /** The members of the caller's own body. */
  callerMembers: Map<string, string>;
  inherited: InheritedSystemAndTools;
  /** How many cache breakpoints the caller has placed, and how many of the API's a prefix or an agent leaves. */
  used: number;
  breakpointLimit: number;
  models: ModelTable;
  /** The name of the model. */
  modelName: string;
  maxTokens: number;
  /** The next three are absent while the conversation does not exist. */
  profile: ConversationProfile | undefined;
  cached: CachedHistory | undefined;
  frozen: Transcript['frozenTexts'] | undefined;
}

/** Resolves a request: combines the caller's body with the agent's members and the defaults of its conversation. */
export function resolveRequest(
  text: string,
  transcript: Transcript,
  settings: Settings,
  {
    initialDefaults,
    agent,
    defaults,
    counts = false,
    isRestricted = false,
    model = transcript.storedProfile?.choices?.at(-1)?.model,
    rejectedTools,
  }: RequestOptions,
): ResolvedRequest {
  const profile = transcript.storedProfile?.exists ? transcript.storedProfile : undefined;
  const cached = transcript.cachedHistory;
  const frozen = profile && (cached?.frozen ?? transcript.frozenTexts);
  const callerMembers = parseMemberTexts(text);
  // Use the default system prompt only in a new conversation without a prefix or an agent. Prefixes and agents bring their own
  // system prompt.
  const isWithoutSystem = profile === undefined && !initialDefaults && !agent && !callerMembers.has('system');
  const system = isWithoutSystem && defaults?.system !== undefined ? JSON.stringify(defaults.system) : undefined;
  const inherited = { ...findInheritedSystemAndTools(callerMembers, frozen), ...(system !== undefined && { system }) };
  // Count the breakpoints that the caller has set, because those of the edge may only use the rest: the API allows four in a
  // request. See https://platform.claude.com/docs/en/build-with-claude/prompt-caching. A restricted token cannot set any, and
  // the messages that it resends are not forwarded.
  const { used, maxBreakpoints: breakpoints } = isRestricted
    ? countAvailableBreakpoints()
    : countAvailableBreakpoints(text, inherited.system, inherited.tools);
  const withAgent = agent
    ? removeOmittedTools(
        agent.buildRequestWithAgent(callerMembers, inherited, { maxBreakpoints: breakpoints, counts, settings, model }),
        transcript,
        rejectedTools,
      )
    : text;
  const json = JSON.parse(withAgent) as JsonObject;
  if (!agent) rejectAgentFields(json);
  const modelName =
    typeof json.model === 'string' ? json.model : (profile?.model ?? initialDefaults?.model ?? defaults?.model);
  if (modelName === undefined || modelName === null)
    throw createInvalidRequestError(createModelRequiredMessage(findDefaultModel(settings.models)?.id));
  const own = typeof json.max_tokens === 'number' ? json.max_tokens : undefined;
  const maxTokens = counts ? 0 : (own ?? profile?.maxTokens ?? initialDefaults?.maxTokens ?? defaults?.max_tokens);
  if (maxTokens === undefined || maxTokens === null) {
    throw createInvalidRequestError('max_tokens: Field required, because this conversation has no default.');
  }
  const members = agent ? parseMemberTexts(withAgent) : callerMembers;
  const { models } = settings;
  const breakpointLimit = MAX_BREAKPOINTS - (profile?.prefix || agent ? MAX_PREFIX_BREAKPOINTS : 0);
  const read = { text: withAgent, json, members, models, callerMembers, inherited, used, breakpointLimit };
  return { ...read, profile, cached, frozen, modelName, maxTokens };
}

/**
 * Counts the cache breakpoints of a caller's texts.
 *
 * @returns how many there are, and how many an agent may add
 */
export function countAvailableBreakpoints(...texts: readonly (string | undefined)[]): {
  used: number;
  maxBreakpoints: number;
} {
  const used = countBreakpoints(...texts);
  return { used, maxBreakpoints: Math.min(MAX_BREAKPOINTS - used, MAX_PREFIX_BREAKPOINTS) };
}

/** @returns the maximum cost of an answer by the members of a request after an agent was applied; undefined without a limit */
export function readMaxCost(members: ReadonlyMap<string, string>): Nanodollars | undefined {
  const usd = members.get('max_usd');
  return usd === undefined ? undefined : Math.floor(Number(usd) * 1e9);
}
