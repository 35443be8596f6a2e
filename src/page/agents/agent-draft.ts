/** Keeps what was typed of agents and is not saved yet, until it is stored or let go: a click elsewhere loses nothing. */

import type { AgentContent } from '../../edge/answers.ts';
import { createAccountSignal } from '../edge/identity.ts';
import { NEW_AGENT } from '../ui/route.ts';
import { LIMIT_FIELDS, toPlainSystem } from './agent-fields.ts';

const TEXT_FIELDS = ['name', 'description', 'model', 'max_tokens', 'system', 'tools', 'approvers', 'more'] as const;
export type AgentDraftField = (typeof TEXT_FIELDS)[number] | (typeof LIMIT_FIELDS)[number][0];
export const AGENT_FIELDS: readonly AgentDraftField[] = [...TEXT_FIELDS, ...LIMIT_FIELDS.map(([name]) => name)];
/** The text of each field. */
export type AgentDraft = Record<AgentDraftField, string>;

const DRAFTS_KEY = 'sluice-agent-drafts';
const DEFAULT_AGENT_MAX_TOKENS = 4_096;

/** The drafts by the names of their agents; that of a new one by `NEW_AGENT`. */
export const agentDrafts = createAccountSignal<Readonly<Record<string, AgentDraft>>>(
  JSON.parse(sessionStorage.getItem(DRAFTS_KEY) ?? '{}'),
  {},
);
agentDrafts.subscribe((drafts) => sessionStorage.setItem(DRAFTS_KEY, JSON.stringify(drafts)));

/** Keeps a draft. A draft that equals the stored agent is discarded. */
export function saveAgentDraft(name: string, draft: AgentDraft, stored: AgentDraft): void {
  const { [name]: _, ...others } = agentDrafts.value;
  const isChanged = AGENT_FIELDS.some((field) => draft[field] !== stored[field]);
  agentDrafts.value = isChanged ? { ...others, [name]: draft } : others;
}

export function discardAgentDraft(name: string): void {
  const { [name]: _, ...others } = agentDrafts.value;
  agentDrafts.value = others;
}

/** @param model the model that is chosen in the page. @returns the fields of a new agent */
export function createEmptyAgentDraft(model: string): AgentDraft {
  const empty = Object.fromEntries(AGENT_FIELDS.map((field) => [field, ''])) as AgentDraft;
  return { ...empty, model, max_tokens: String(DEFAULT_AGENT_MAX_TOKENS), approvers: 'owner' };
}

/** Begins a new agent with an example that works, in place of an empty form. @param tools JSON */
export function saveExampleAgentDraft(name: string, model: string, tools: string): void {
  const system =
    'You are a hotel porter. Greet the guest in one sentence that fits the time of day. Your tools return the time.';
  const fields = {
    name,
    description: 'Example: greets guests by the time of day',
    system,
    tools,
    'limits.max_turns': '4',
  };
  agentDrafts.value = { ...agentDrafts.value, [NEW_AGENT]: { ...createEmptyAgentDraft(model), ...fields } };
}

/** @returns the fields that an agent is made of */
export function toAgentDraft(content: AgentContent): AgentDraft {
  const { type: _, version: __, owner: ___, name, description = '', model, ...others } = content;
  const { max_tokens, tools = [], limits = {}, approvers, system, ...rest } = others;
  const plain = toPlainSystem(system);
  // The form has no field for an agent that chooses among models (`model` is then an object), so keep that value in `more`.
  const isChosen = typeof model !== 'string';
  const more = { ...(isChosen ? { model } : {}), ...rest, ...(plain === undefined ? { system } : {}) };
  const limited = Object.entries(limits).map(([limit, most]) => [`limits.${limit}`, String(most)]);
  return {
    ...createEmptyAgentDraft(isChosen ? '' : model),
    name,
    description,
    max_tokens: String(max_tokens),
    approvers,
    system: plain ?? '',
    tools: tools.length === 0 ? '' : JSON.stringify(tools, null, 2),
    more: Object.keys(more).length === 0 ? '' : JSON.stringify(more, null, 2),
    ...Object.fromEntries(limited),
  };
}

/** @returns the body of a `PUT`. @throws Error that begins with the field that cannot be read, as those of the edge do */
export function parseDraftToPutBody(draft: AgentDraft): object {
  const limits = LIMIT_FIELDS.flatMap(([path]) =>
    draft[path].trim() === '' ? [] : [[path.slice('limits.'.length), Number(draft[path])]],
  );
  return {
    ...(parseMoreFieldsJson(draft) as object),
    ...(draft.model === '' ? {} : { model: draft.model }),
    max_tokens: Number(draft.max_tokens),
    approvers: draft.approvers,
    ...(draft.description.trim() === '' ? {} : { description: draft.description.trim() }),
    ...(draft.system === '' ? {} : { system: draft.system }),
    ...(draft.tools.trim() === ''
      ? {}
      : { tools: parseJsonDraftField(draft, 'tools', Array.isArray, 'a list: [ … ]') }),
    ...(limits.length === 0 ? {} : { limits: Object.fromEntries(limits) }),
  };
}

/** @returns the members that have no field of their own. @throws Error that begins with `more` */
export function parseMoreFieldsJson(draft: AgentDraft): unknown {
  if (draft.more.trim() === '') return {};
  const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  return parseJsonDraftField(draft, 'more', isObject, 'an object: { … }');
}

function parseJsonDraftField(
  draft: AgentDraft,
  field: AgentDraftField,
  isRight: (value: unknown) => boolean,
  expectedForm: string,
): unknown {
  let value: unknown;
  try {
    value = JSON.parse(draft[field]);
  } catch (thrown) {
    throw new Error(`${field}: Invalid JSON. ${thrown instanceof Error ? thrown.message : ''}`);
  }
  if (!isRight(value)) throw new Error(`${field}: Must be ${expectedForm}.`);
  return value;
}
