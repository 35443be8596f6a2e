/** Resolves the prefix or agent with which a conversation begins. */
import type { Identity } from '../../auth/identity/caller.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { createInvalidRequestError, createMissingPluginError } from '../../kit/http/errors.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { getSinglePluginMember, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import {
  getVersionMemory,
  rejectWithdrawnVersion,
  requireStoredVersion,
  type StoredResourceKind,
} from '../../registry/versions/find-stored.ts';
import type { ResolvedAgent } from '../history/agent-in-use.ts';
import type { NewConversationDefaults } from '../history/inherited-parts.ts';
import type { ConversationProfile, RetainedAgent } from '../history/storage/rows.ts';
import type { TurnExecutionContext } from '../turn/turn-context.ts';
import type { ConversationKey, InitialContextOptions } from './contract.ts';
import type { ObjectContext } from './object-context.ts';
import {
  applyRetainedPrefix,
  createVersionStoreContext,
  findAndRetainPrefix,
  type PrefixWithDefaults,
} from './retained-prefix.ts';

/** An agent with the defaults that it gives to a new conversation. */
interface AgentWithDefaults extends NewConversationDefaults, FoundAgent {
  retained?: undefined;
}

/** The prefix or agent with which a new conversation begins. */
export type InitialContext = (PrefixWithDefaults & { agent?: undefined }) | AgentWithDefaults;

const PREFIX_AND_AGENT =
  'prefix: not supported with `agent`, which has its own system prompt and tools. Send only one of them.';

/** @returns whether a request names a prefix or an agent for a new conversation. */
export function hasInitialContext({ prefix, agent }: InitialContextOptions): boolean {
  return prefix !== undefined || agent !== undefined;
}

/** @returns the prefix or agent of a new conversation: the one that the request names, else the default agent */
export function applyDefaultAgent(options: InitialContextOptions): InitialContextOptions {
  return hasInitialContext(options) ? options : { ...options, agent: options.defaults?.agent };
}

/** @throws ApiError 400 for a request that names a prefix and an agent */
export function rejectPrefixWithAgent({ prefix, agent }: InitialContextOptions): void {
  if (prefix !== undefined && agent !== undefined) throw createInvalidRequestError(PREFIX_AND_AGENT);
}

/**
 * Finds the agent of a new conversation, or its prefix, on whose version it places a hold.
 *
 * @param caller may name other versions than the current one
 * @returns undefined if the request names neither
 * @throws ApiError 400 if the request names both, 404 if the version does not exist
 */
export async function resolveInitialContext(
  context: Pick<ObjectContext, 'env' | 'settings'>,
  conversationKey: ConversationKey,
  options: InitialContextOptions,
  caller: Pick<Identity, 'scopes'> | undefined,
): Promise<InitialContext | undefined> {
  rejectPrefixWithAgent(options);
  const { prefix, agent } = options;
  const { account } = conversationKey;
  const { scopes = [] } = caller ?? {};
  if (prefix !== undefined) return await findAndRetainPrefix(context, conversationKey, prefix, scopes);
  if (agent === undefined) return undefined;
  const services = { env: context.env, settings: context.settings() };
  const found = await findAgent(services, { account, scopes }, agent, options.agent_owner, options.agent_listed);
  return { ...found.stored.defaults, ...found };
}

/**
 * @returns the account that has stored a tool with the conversation's agent or prefix; undefined for the caller's own tool
 */
export function findToolOwnerOfConversation(
  { transcript, ...context }: Pick<ObjectContext, 'transcript' | 'settings'>,
  tool: string,
): string | undefined {
  const { agent, prefix } = transcript.storedProfile ?? {};
  if (agent) return readRetainedAgent({ transcript, ...context })?.hasTool(tool) ? agent.owner : undefined;
  const isOfPrefix =
    prefix && (JSON.parse(transcript.frozenTexts.runs ?? '[]') as JsonObject[]).some(({ name }) => name === tool);
  return isOfPrefix ? prefix.owner : undefined;
}

/**
 * @returns a function that adds a conversation's prefix to a body, and rejects a withdrawn version of another account. For the
 *   account's own versions the admission does that, which is exact and costs no read
 */
export function createPrefixApplier(
  context: ObjectContext,
  profile: ConversationProfile | undefined,
): TurnExecutionContext['applyPrefix'] {
  const { account = '', prefix, agent } = profile ?? {};
  if (prefix) return (body) => applyRetainedPrefix(context, account, prefix, body);
  if (agent?.owner !== DEPLOYMENT) return undefined;
  return async (body) => {
    await rejectWithdrawnVersion(getAgentKind(), createVersionStoreContext(context, account), agent);
    return { body, fallbackModels: undefined };
  };
}

/** @returns the 409 for a conversation whose prefix or agent was withdrawn; undefined for any other */
export async function findWithdrawalError(
  context: ObjectContext,
  profile: ConversationProfile | undefined,
): Promise<unknown> {
  const { account = '', prefix, agent } = profile ?? {};
  const versionStore = createVersionStoreContext(context, account);
  try {
    if (prefix) await rejectWithdrawnVersion(PREFIXES, versionStore, prefix);
    if (agent) await rejectWithdrawnVersion(getAgentKind(), versionStore, agent);
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

/** How agents are stored in versions. */
export interface AgentStorage<T extends ResolvedAgent = ResolvedAgent> extends StoredResourceKind<T, '/agents'> {
  /** Reads the copy of a conversation. */
  parseRetainedCopy(text: string): T;
}
declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** How agents are stored and read. Only one plugin may have it. */
    readonly agents?: AgentStorage;
  }
}

const agentKindInUse = memoizeFromPlugins(() => getSinglePluginMember('agents'));

/** @returns how agents are stored. @throws ApiError 400 where no plugin stores them */
export function getAgentKind(): AgentStorage {
  const kind = agentKindInUse();
  if (!kind) throw createMissingPluginError('agents', 'agent:');
  return kind;
}

/** An agent that was found. Nothing of it may be changed: others share it. */
export interface FoundAgent {
  agent: RetainedAgent;
  stored: ResolvedAgent;
}

/**
 * Finds an agent by its name, or by `name@version`: the account's own first, then the deployment's.
 *
 * @param referrer the account (or the deployment) that stored the definition which names the agent. Then only its own agents
 *   and the deployment's are found, so that no caller can replace an agent that an admin's agent calls
 * @param listed the versions that the caller's token lists
 * @throws ApiError 400 if no plugin stores agents, 404 if the agent does not exist, 503 if its store cannot be reached
 */
export async function findAgent(
  { env, settings }: { env: Bindings; settings: Settings },
  { account, scopes }: Pick<Identity, 'account' | 'scopes'>,
  ref: string,
  referrer?: string,
  listed?: readonly string[],
): Promise<FoundAgent> {
  // Suggest a similar name in a 404 only if the caller chose the name. For a name from another definition (`referrer`), the
  // empty list prevents suggestions.
  const readable = listed ?? (referrer === undefined ? undefined : []);
  const reader = { account, scopes, listed: readable, accounts: env, store: env.STORE, settings };
  const owners = [referrer ?? account, DEPLOYMENT];
  const { owner, name, hash, value } = await requireStoredVersion(getAgentKind(), reader, ref, owners);
  return { agent: { owner, name, hash }, stored: value };
}

/** @returns the agent of a conversation; undefined where it has none */
export function readRetainedAgent({
  transcript,
  settings,
}: Pick<ObjectContext, 'transcript' | 'settings'>): ResolvedAgent | undefined {
  const retained = transcript.storedProfile?.agent;
  if (!retained) return undefined;
  const kind = getAgentKind();
  const name = { kind: kind.kind, owner: retained.owner, name: retained.name };
  // Take the parsed definition from the memory that all conversations of this agent in the isolate share.
  const memory = getVersionMemory(kind, settings());
  const present = memory.getCachedValue(name, retained.hash);
  if (present) return present;
  const agent = kind.parseRetainedCopy(transcript.frozenAgent);
  memory.cacheValue(name, retained.hash, agent, kind.memorySize(agent, agent.text.length));
  return agent;
}
