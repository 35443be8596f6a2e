/**
 * What the API knows: the members of its objects, by kind. An object that says its `type` has that beside them. `name:kind` is
 * looked into, as an object or a list of them; of `name=a|b` the API knows only these values. What needs a beta names it by the
 * beginning of its name: `member@beta:kind`, `name=a|b@beta`, and `@beta` before the members of a type. Of several, `@one,other`,
 * any will do. Source of the betas: the SDK's beta types against its others.
 */

import { isBetaRequested, type RequestedBetas } from './betas.ts';
import { createInvalidRequestError } from './errors.ts';
import { formatQuotedList, readRequiredType, rejectUnknownKeys } from './fields.ts';
import { isJsonObject, type Json, type JsonObject, readOwnMember } from './json.ts';

const SERVER_RESULT_MEMBERS = 'tool_use_id content:result cache_control:cache';
const CODE_RESULT_MEMBERS = 'content:result return_code stderr stdout';
const TOOL_ERROR_CODES = 'invalid_tool_input|unavailable|too_many_requests';
const CODE_TOOL_ERROR_CODES = `error_code=${TOOL_ERROR_CODES}|execution_time_exceeded`;
const ALLOWED_CALLERS = 'direct|code_execution_20250825|code_execution_20260120|code_execution_20260521';
const TOOL_MEMBERS = `allowed_callers=${ALLOWED_CALLERS} cache_control:cache defer_loading strict`;
const SEARCH_TOOL_MEMBERS = `name=web_search ${TOOL_MEMBERS} allowed_domains blocked_domains max_uses user_location:location`;
const FETCH_TOOL_MEMBERS = `name=web_fetch ${TOOL_MEMBERS} allowed_domains blocked_domains citations:citing max_content_tokens max_uses url_sources:sources`;
const INCLUSION_MEMBER = 'response_inclusion=full|excluded';
const SERVER_TOOL_NAMES =
  'web_search|web_fetch|code_execution|bash_code_execution|text_editor_code_execution|tool_search_tool_regex|tool_search_tool_bm25|advisor@advisor-tool';
const EDITOR_TOOL_MEMBERS = `name=str_replace_based_edit_tool ${TOOL_MEMBERS} input_examples`;
const OLD_EDITOR_TOOL_MEMBERS = `name=str_replace_editor ${TOOL_MEMBERS} input_examples`;
const COMPUTER_TOOL_MEMBERS = `@computer-use name=computer ${TOOL_MEMBERS} input_examples display_height_px display_width_px display_number`;
const MCP_BETA = '@mcp-client';
const TOOL_CHANGES_BETAS = '@mid-conversation-tool-changes,inline-tools';
const DOCUMENT_CITATION_MEMBERS = 'cited_text document_index document_title';
const COUNT_MEMBERS =
  'model messages:message system:system tools:tool tool_choice:choice thinking:thinking output_config:output output_format@structured-outputs:format ' +
  'cache_control:cache context_management@context-management,compact-2026-01-12:context mcp_servers@mcp-client:server ' +
  'compaction@compact-2026-09-04 billing_policy@user-profiles-billing:billing speed=standard|fast user_profile_id workspace_id';

const BLOCK_KINDS = {
  text: 'text cache_control:cache citations:citation',
  image: 'source:source cache_control:cache transformations:transformations',
  document: 'source:source cache_control:cache citations:citing context title',
  search_result: 'content:block source title cache_control:cache citations:citing',
  thinking: 'thinking signature',
  redacted_thinking: 'data',
  tool_use: 'id input name cache_control:cache caller:caller toolset_name',
  tool_result: 'tool_use_id cache_control:cache content:within is_error toolset_name',
  server_tool_use: `id input name=${SERVER_TOOL_NAMES} cache_control:cache caller:caller`,
  web_search_tool_result: `${SERVER_RESULT_MEMBERS} caller:caller`,
  web_fetch_tool_result: `${SERVER_RESULT_MEMBERS} caller:caller`,
  code_execution_tool_result: SERVER_RESULT_MEMBERS,
  bash_code_execution_tool_result: SERVER_RESULT_MEMBERS,
  text_editor_code_execution_tool_result: SERVER_RESULT_MEMBERS,
  tool_search_tool_result: SERVER_RESULT_MEMBERS,
  container_upload: 'file_id cache_control:cache',
  advisor_tool_result: `@advisor-tool ${SERVER_RESULT_MEMBERS}`,
  mcp_tool_use: `${MCP_BETA} id input name server_name cache_control:cache`,
  mcp_tool_result: `${MCP_BETA} tool_use_id cache_control:cache content:block is_error`,
  mcp_tool_listing: `${MCP_BETA} mcp_server_name tools:mcp_tool`,
  compaction:
    '@compact-2026-09-04,compact-2026-01-12 cache_control:cache content encrypted_content signature tool_changes:change',
  tool_addition: `${TOOL_CHANGES_BETAS} tool:changed cache_control:cache`,
  tool_removal: `${TOOL_CHANGES_BETAS} tool:changed cache_control:cache`,
  fallback: '@server-side-fallback from:relay to:relay trigger',
};

const POINTER_MEMBERS =
  'double_click hold_key key left_click left_click_drag left_mouse_down left_mouse_up middle_click mouse_move right_click screenshot scroll triple_click type wait zoom';
const BROWSER_MEMBERS =
  'close_tab file_upload find form_input get_page_text hover javascript_exec list_tabs navigate new_tab read_console read_network read_page scroll_to switch_tab';

/** @returns names whose values are all of one kind */
function assignKindToNames(names: string, kind: string): string {
  return names.replace(/\w+/g, `$&:${kind}`);
}

const MEMBERS_BY_KIND: Readonly<Record<string, string | Readonly<Record<string, string>>>> = {
  count: COUNT_MEMBERS,
  create:
    `${COUNT_MEMBERS} max_tokens stream stop_sequences temperature top_p top_k metadata service_tier inference_geo container:container ` +
    'diagnostics:diagnostics fallbacks@server-side-fallback:fallback fallback_credit_token@fallback-credit:credit ' +
    'thread@message-threads:thread safeguards@dangerous-tool-use',
  context: 'edits:edit',
  edit: {
    clear_tool_uses_20250919: 'clear_at_least:amount clear_tool_inputs exclude_tools keep:amount trigger:amount',
    clear_thinking_20251015: 'keep:amount',
    compact_20260112: '@compact-2026-01-12 instructions pause_after_compaction trigger:amount',
  },
  amount: { input_tokens: 'value', tool_uses: 'value', thinking_turns: 'value', all: '' },
  server: { url: 'name url authorization_token tool_configuration:configuration' },
  configuration: 'allowed_tools enabled',
  billing: { billing_policy: 'bill_to=self|user_profile' },
  fallback: 'model max_tokens output_config:output speed=standard|fast thinking:thinking',
  credit: 'token mode=strict|best_effort',
  thread: { create: '', continue: 'previous_message_id' },
  message:
    'role content:block output_config@mid-conversation-output-config,per-turn-control:turn ' +
    'clear_at@mid-conversation-system-clear-at=next_user_message|never',
  turn: 'effort',
  change: { tool_addition: 'tool:changed cache_control:cache', tool_removal: 'tool:changed cache_control:cache' },
  changed: {
    tool_reference: 'name',
    mcp_tool_reference: 'name server_name',
    mcp_toolset_reference: 'server_name',
    tool_definition: '@inline-tools,compact-2026-09-04 definition:tool',
  },
  mcp_tool: 'name description input_schema',
  relay: 'model',
  system: { text: 'text cache_control:cache citations:citation' },
  cache: { ephemeral: 'ttl scope@prompt-caching-scope' },
  thinking: {
    adaptive: 'display block_binding@thinking-binding-controls:binding',
    enabled: 'budget_tokens display block_binding@thinking-binding-controls:binding',
    disabled: '',
    between_tools: '',
  },
  binding: 'prefix_mismatch_behavior=error|drop_block',
  output: 'effort format:format task_budget@task-budgets:budget',
  budget: { tokens: 'total remaining' },
  format: { json_schema: 'schema' },
  choice: {
    auto: 'disable_parallel_tool_use',
    any: 'disable_parallel_tool_use',
    tool: 'name disable_parallel_tool_use',
    none: '',
  },
  container: 'id skills:skill',
  skill: { anthropic: 'skill_id version', custom: 'skill_id version' },
  diagnostics: 'previous_message_id',
  block: BLOCK_KINDS,
  within: {
    ...BLOCK_KINDS,
    tool_reference: 'tool_name cache_control:cache',
    browser_state: 'tabs:tab cache_control:cache state_changes:tab_change',
  },
  tab: 'tab_id title url active',
  tab_change: {
    tab_opened: 'tab_id',
    download_started: 'download_id url',
    download_completed: 'download_id url path size_bytes',
    download_failed: 'download_id url error',
  },
  source: { base64: 'media_type data', url: 'url', file: 'file_id', text: 'media_type data', content: 'content:block' },
  transformations: 'oversized_image=downsize|error',
  citing: 'enabled',
  citation: {
    char_location: `${DOCUMENT_CITATION_MEMBERS} start_char_index end_char_index`,
    page_location: `${DOCUMENT_CITATION_MEMBERS} start_page_number end_page_number`,
    content_block_location: `${DOCUMENT_CITATION_MEMBERS} start_block_index end_block_index`,
    web_search_result_location: 'cited_text encrypted_index title url',
    search_result_location: 'cited_text search_result_index source title start_block_index end_block_index',
  },
  caller: { direct: '', code_execution_20250825: 'tool_id', code_execution_20260120: 'tool_id' },
  result: {
    web_search_tool_result_error: `error_code=${TOOL_ERROR_CODES}|max_uses_exceeded|query_too_long|request_too_large`,
    web_search_result: 'encrypted_content title url page_age',
    web_fetch_tool_result_error: `error_code=${TOOL_ERROR_CODES}|url_too_long|url_not_allowed|url_not_in_prior_context|url_not_accessible|unsupported_content_type|max_uses_exceeded|content_too_large`,
    web_fetch_result: 'content:block url retrieved_at',
    code_execution_tool_result_error: CODE_TOOL_ERROR_CODES,
    code_execution_result: CODE_RESULT_MEMBERS,
    encrypted_code_execution_result: 'content:result encrypted_stdout return_code stderr',
    code_execution_output: 'file_id',
    bash_code_execution_tool_result_error: `${CODE_TOOL_ERROR_CODES}|output_file_too_large`,
    bash_code_execution_result: CODE_RESULT_MEMBERS,
    bash_code_execution_output: 'file_id',
    text_editor_code_execution_tool_result_error: `${CODE_TOOL_ERROR_CODES}|file_not_found error_message`,
    text_editor_code_execution_view_result: 'content file_type=text|image|pdf num_lines start_line total_lines',
    text_editor_code_execution_create_result: 'is_file_update',
    text_editor_code_execution_str_replace_result: 'lines new_lines new_start old_lines old_start',
    tool_search_tool_result_error: `${CODE_TOOL_ERROR_CODES} error_message`,
    tool_search_tool_search_result: 'tool_references:result',
    tool_reference: 'tool_name cache_control:cache',
    advisor_tool_result_error:
      '@advisor-tool error_code=max_uses_exceeded|prompt_too_long|too_many_requests|overloaded|unavailable|execution_time_exceeded|model_not_found',
    advisor_result: '@advisor-tool text stop_reason',
    advisor_redacted_result: '@advisor-tool encrypted_content stop_reason',
  },
  tool: {
    custom: `name ${TOOL_MEMBERS} description eager_input_streaming input_examples input_schema`,
    bash_20241022: `@computer-use name=bash ${TOOL_MEMBERS} input_examples`,
    bash_20250124: `name=bash ${TOOL_MEMBERS} input_examples`,
    code_execution_20250522: `name=code_execution ${TOOL_MEMBERS}`,
    code_execution_20250825: `name=code_execution ${TOOL_MEMBERS}`,
    code_execution_20260120: `name=code_execution ${TOOL_MEMBERS}`,
    code_execution_20260521: `name=code_execution ${TOOL_MEMBERS}`,
    computer_20241022: COMPUTER_TOOL_MEMBERS,
    computer_20250124: COMPUTER_TOOL_MEMBERS,
    computer_20251124: `${COMPUTER_TOOL_MEMBERS} enable_zoom`,
    browser_toolset_20260801: 'cache_control:cache configs:browser',
    computer_toolset_20260801: 'cache_control:cache configs:computer',
    memory_20250818: `name=memory ${TOOL_MEMBERS} input_examples`,
    text_editor_20241022: `@computer-use ${OLD_EDITOR_TOOL_MEMBERS}`,
    text_editor_20250124: OLD_EDITOR_TOOL_MEMBERS,
    text_editor_20250429: EDITOR_TOOL_MEMBERS,
    text_editor_20250728: `${EDITOR_TOOL_MEMBERS} max_characters`,
    tool_search_tool_bm25: `name=tool_search_tool_bm25 ${TOOL_MEMBERS}`,
    tool_search_tool_bm25_20251119: `name=tool_search_tool_bm25 ${TOOL_MEMBERS}`,
    tool_search_tool_regex: `name=tool_search_tool_regex ${TOOL_MEMBERS}`,
    tool_search_tool_regex_20251119: `name=tool_search_tool_regex ${TOOL_MEMBERS}`,
    advisor_20260301: `@advisor-tool name=advisor ${TOOL_MEMBERS} model caching:cache max_tokens max_uses`,
    mcp_toolset: `${MCP_BETA} mcp_server_name cache_control:cache configs default_config:config tools:mcp_tool`,
    web_search_20250305: SEARCH_TOOL_MEMBERS,
    web_search_20260209: SEARCH_TOOL_MEMBERS,
    web_search_20260318: `${SEARCH_TOOL_MEMBERS} ${INCLUSION_MEMBER}`,
    web_fetch_20250910: FETCH_TOOL_MEMBERS,
    web_fetch_20260209: FETCH_TOOL_MEMBERS,
    web_fetch_20260309: `${FETCH_TOOL_MEMBERS} use_cache`,
    web_fetch_20260318: `${FETCH_TOOL_MEMBERS} use_cache ${INCLUSION_MEMBER}`,
  },
  browser: assignKindToNames(`${POINTER_MEMBERS} ${BROWSER_MEMBERS}`, 'config'),
  computer: assignKindToNames(`${POINTER_MEMBERS} cursor_position`, 'config'),
  config: 'defer_loading enabled',
  location: { approximate: 'city country region timezone' },
  sources: 'client_tool_results:allowed server_tool_results:allowed user_input:allowed',
  allowed: { all: '', none: '', only: 'tools:named', except: 'tools:named' },
  named: { tool_reference: 'name' },
};

/** A member of an object, or one of the values that a member can have. */
interface NameWithBetas {
  name: string;
  /** The betas of which a request needs one; none where it needs none. */
  betas: readonly string[];
}

interface KnownMemberRule extends NameWithBetas {
  kind: string | undefined;
  values: readonly NameWithBetas[] | undefined;
}

const knownMembersOf = new Map<string, readonly KnownMemberRule[]>();

/** @param text a name, and the betas behind it: `name@beta,other` */
function parseKnownName(text: string): NameWithBetas {
  const [name = '', betas] = text.split('@');
  return { name, betas: betas?.split(',') ?? [] };
}

/** @param members as they stand above @returns the same, read once; that of a type's own betas has an empty name */
function parseMemberRules(members: string): readonly KnownMemberRule[] {
  const before = knownMembersOf.get(members);
  if (before) return before;
  const entries = members.split(' ').map((entry) => {
    const [, member = '', sign, more = ''] = /^([\w@,-]*)(?:([:=])(.*))?$/.exec(entry) ?? [];
    const values = sign === '=' ? more.split('|').map(parseKnownName) : undefined;
    return { ...parseKnownName(member), kind: sign === ':' ? more : undefined, values };
  });
  knownMembersOf.set(members, entries);
  return entries;
}

function isAvailableWithBetas({ betas }: NameWithBetas, active: RequestedBetas): boolean {
  return betas.length === 0 || betas.some((name) => isBetaRequested(active, name));
}

/** @returns the types of a kind that says its type, with those of the betas that are asked for */
export function listAvailableTypes(kind: string, betas: RequestedBetas): string[] {
  return Object.entries(MEMBERS_BY_KIND[kind] ?? {}).flatMap(([tag, members]) =>
    parseMemberRules(members).every((one) => one.name !== '' || isAvailableWithBetas(one, betas)) ? [tag] : [],
  );
}

/**
 * Refuses what the API does not know in a value: a member, a type, or one of the values that a member can have.
 *
 * @param kind of the value, or of each of a list; nothing of another form is looked into
 * @throws ApiError 400 in the API's words
 */
export function rejectUnknownMembers(value: Json | undefined, kind: string, path: string, betas: RequestedBetas): void {
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) rejectUnknownMembers(entry, kind, `${path}.${index}`, betas);
  }
  if (!isJsonObject(value)) return;
  const own = MEMBERS_BY_KIND[kind] ?? '';
  const tag = typeof own === 'string' ? undefined : readKnownType(value, kind, path, betas);
  const members = parseMemberRules(typeof own === 'string' ? own : (own[tag ?? ''] ?? '')).filter((one) =>
    isAvailableWithBetas(one, betas),
  );
  const at = [path, tag].filter(Boolean).join('.');
  rejectUnknownKeys(value, new Set(['type', ...members.map(({ name }) => name)]), at);
  for (const { name, values } of members) {
    if (values === undefined) continue;
    const choices = values.flatMap((one) => (isAvailableWithBetas(one, betas) ? [one.name] : []));
    const list = readOwnMember(value, name) ?? [];
    const strange = (Array.isArray(list) ? list : [list]).find(
      (one) => one !== null && !(typeof one === 'string' && choices.includes(one)),
    );
    if (strange !== undefined)
      throw createInvalidRequestError(`${at}.${name}: Input should be ${formatQuotedList(choices)}`);
  }
  for (const { name, kind: inner } of members) {
    if (inner !== undefined)
      rejectUnknownMembers(readOwnMember(value, name), inner, at === '' ? name : `${at}.${name}`, betas);
  }
}

/** A tool is the caller's own where it does not say its type. */
function readKnownType(value: JsonObject, kind: string, path: string, betas: RequestedBetas): string {
  return kind === 'tool' && (value.type ?? null) === null
    ? 'custom'
    : readRequiredType(value, listAvailableTypes(kind, betas), path);
}
