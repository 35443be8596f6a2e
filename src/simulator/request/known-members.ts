/**
 * What the API knows: the members of its objects, by kind. An object that says its `type` has that beside them. `name:kind` is
 * looked into, as an object or a list of them; of `name=a|b` the API knows only these values. What needs a beta names it by the
 * beginning of its name: `member@beta:kind`, `name=a|b@beta`, and `@beta` before the members of a type. Of several, `@one,other`,
 * any will do. Source of the betas: the SDK's beta types against its others.
 */

import { type Betas, hasBeta } from './betas.ts';
import { invalid } from './errors.ts';
import { listed, refuseExtras, requiredTag } from './fields.ts';
import { isObject, type Json, type JsonObject, member } from './json.ts';

const SERVED_RESULT = 'tool_use_id content:result cache_control:cache';
const CODE = 'content:result return_code stderr stdout';
const FAULTS = 'invalid_tool_input|unavailable|too_many_requests';
const CODE_FAULTS = `error_code=${FAULTS}|execution_time_exceeded`;
const CALLERS = 'direct|code_execution_20250825|code_execution_20260120|code_execution_20260521';
const TOOL = `allowed_callers=${CALLERS} cache_control:cache defer_loading strict`;
const SEARCH = `name=web_search ${TOOL} allowed_domains blocked_domains max_uses user_location:location`;
const FETCH = `name=web_fetch ${TOOL} allowed_domains blocked_domains citations:citing max_content_tokens max_uses url_sources:sources`;
const INCLUSION = 'response_inclusion=full|excluded';
const TOOLS =
  'web_search|web_fetch|code_execution|bash_code_execution|text_editor_code_execution|tool_search_tool_regex|tool_search_tool_bm25|advisor@advisor-tool';
const EDITOR = `name=str_replace_based_edit_tool ${TOOL} input_examples`;
const OLD_EDITOR = `name=str_replace_editor ${TOOL} input_examples`;
const SCREEN = `@computer-use name=computer ${TOOL} input_examples display_height_px display_width_px display_number`;
const MCP = '@mcp-client';
const CHANGES = '@mid-conversation-tool-changes,inline-tools';
const CITED_DOCUMENT = 'cited_text document_index document_title';
const COUNT =
  'model messages:message system:system tools:tool tool_choice:choice thinking:thinking output_config:output output_format@structured-outputs:format ' +
  'cache_control:cache context_management@context-management,compact-2026-01-12:context mcp_servers@mcp-client:server ' +
  'compaction@compact-2026-09-04 billing_policy@user-profiles-billing:billing speed=standard|fast user_profile_id workspace_id';

const BLOCKS = {
  text: 'text cache_control:cache citations:citation',
  image: 'source:source cache_control:cache transformations:transformations',
  document: 'source:source cache_control:cache citations:citing context title',
  search_result: 'content:block source title cache_control:cache citations:citing',
  thinking: 'thinking signature',
  redacted_thinking: 'data',
  tool_use: 'id input name cache_control:cache caller:caller toolset_name',
  tool_result: 'tool_use_id cache_control:cache content:within is_error toolset_name',
  server_tool_use: `id input name=${TOOLS} cache_control:cache caller:caller`,
  web_search_tool_result: `${SERVED_RESULT} caller:caller`,
  web_fetch_tool_result: `${SERVED_RESULT} caller:caller`,
  code_execution_tool_result: SERVED_RESULT,
  bash_code_execution_tool_result: SERVED_RESULT,
  text_editor_code_execution_tool_result: SERVED_RESULT,
  tool_search_tool_result: SERVED_RESULT,
  container_upload: 'file_id cache_control:cache',
  advisor_tool_result: `@advisor-tool ${SERVED_RESULT}`,
  mcp_tool_use: `${MCP} id input name server_name cache_control:cache`,
  mcp_tool_result: `${MCP} tool_use_id cache_control:cache content:block is_error`,
  mcp_tool_listing: `${MCP} mcp_server_name tools:mcp_tool`,
  compaction:
    '@compact-2026-09-04,compact-2026-01-12 cache_control:cache content encrypted_content signature tool_changes:change',
  tool_addition: `${CHANGES} tool:changed cache_control:cache`,
  tool_removal: `${CHANGES} tool:changed cache_control:cache`,
  fallback: '@server-side-fallback from:relay to:relay trigger',
};

const POINTER =
  'double_click hold_key key left_click left_click_drag left_mouse_down left_mouse_up middle_click mouse_move right_click screenshot scroll triple_click type wait zoom';
const BROWSER =
  'close_tab file_upload find form_input get_page_text hover javascript_exec list_tabs navigate new_tab read_console read_network read_page scroll_to switch_tab';

/** @returns names whose values are all of one kind */
function each(names: string, kind: string): string {
  return names.replace(/\w+/g, `$&:${kind}`);
}

const KINDS: Readonly<Record<string, string | Readonly<Record<string, string>>>> = {
  count: COUNT,
  create:
    `${COUNT} max_tokens stream stop_sequences temperature top_p top_k metadata service_tier inference_geo container:container ` +
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
  block: BLOCKS,
  within: {
    ...BLOCKS,
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
    char_location: `${CITED_DOCUMENT} start_char_index end_char_index`,
    page_location: `${CITED_DOCUMENT} start_page_number end_page_number`,
    content_block_location: `${CITED_DOCUMENT} start_block_index end_block_index`,
    web_search_result_location: 'cited_text encrypted_index title url',
    search_result_location: 'cited_text search_result_index source title start_block_index end_block_index',
  },
  caller: { direct: '', code_execution_20250825: 'tool_id', code_execution_20260120: 'tool_id' },
  result: {
    web_search_tool_result_error: `error_code=${FAULTS}|max_uses_exceeded|query_too_long|request_too_large`,
    web_search_result: 'encrypted_content title url page_age',
    web_fetch_tool_result_error: `error_code=${FAULTS}|url_too_long|url_not_allowed|url_not_in_prior_context|url_not_accessible|unsupported_content_type|max_uses_exceeded|content_too_large`,
    web_fetch_result: 'content:block url retrieved_at',
    code_execution_tool_result_error: CODE_FAULTS,
    code_execution_result: CODE,
    encrypted_code_execution_result: 'content:result encrypted_stdout return_code stderr',
    code_execution_output: 'file_id',
    bash_code_execution_tool_result_error: `${CODE_FAULTS}|output_file_too_large`,
    bash_code_execution_result: CODE,
    bash_code_execution_output: 'file_id',
    text_editor_code_execution_tool_result_error: `${CODE_FAULTS}|file_not_found error_message`,
    text_editor_code_execution_view_result: 'content file_type=text|image|pdf num_lines start_line total_lines',
    text_editor_code_execution_create_result: 'is_file_update',
    text_editor_code_execution_str_replace_result: 'lines new_lines new_start old_lines old_start',
    tool_search_tool_result_error: `${CODE_FAULTS} error_message`,
    tool_search_tool_search_result: 'tool_references:result',
    tool_reference: 'tool_name cache_control:cache',
    advisor_tool_result_error:
      '@advisor-tool error_code=max_uses_exceeded|prompt_too_long|too_many_requests|overloaded|unavailable|execution_time_exceeded|model_not_found',
    advisor_result: '@advisor-tool text stop_reason',
    advisor_redacted_result: '@advisor-tool encrypted_content stop_reason',
  },
  tool: {
    custom: `name ${TOOL} description eager_input_streaming input_examples input_schema`,
    bash_20241022: `@computer-use name=bash ${TOOL} input_examples`,
    bash_20250124: `name=bash ${TOOL} input_examples`,
    code_execution_20250522: `name=code_execution ${TOOL}`,
    code_execution_20250825: `name=code_execution ${TOOL}`,
    code_execution_20260120: `name=code_execution ${TOOL}`,
    code_execution_20260521: `name=code_execution ${TOOL}`,
    computer_20241022: SCREEN,
    computer_20250124: SCREEN,
    computer_20251124: `${SCREEN} enable_zoom`,
    browser_toolset_20260801: 'cache_control:cache configs:browser',
    computer_toolset_20260801: 'cache_control:cache configs:computer',
    memory_20250818: `name=memory ${TOOL} input_examples`,
    text_editor_20241022: `@computer-use ${OLD_EDITOR}`,
    text_editor_20250124: OLD_EDITOR,
    text_editor_20250429: EDITOR,
    text_editor_20250728: `${EDITOR} max_characters`,
    tool_search_tool_bm25: `name=tool_search_tool_bm25 ${TOOL}`,
    tool_search_tool_bm25_20251119: `name=tool_search_tool_bm25 ${TOOL}`,
    tool_search_tool_regex: `name=tool_search_tool_regex ${TOOL}`,
    tool_search_tool_regex_20251119: `name=tool_search_tool_regex ${TOOL}`,
    advisor_20260301: `@advisor-tool name=advisor ${TOOL} model caching:cache max_tokens max_uses`,
    mcp_toolset: `${MCP} mcp_server_name cache_control:cache configs default_config:config tools:mcp_tool`,
    web_search_20250305: SEARCH,
    web_search_20260209: SEARCH,
    web_search_20260318: `${SEARCH} ${INCLUSION}`,
    web_fetch_20250910: FETCH,
    web_fetch_20260209: FETCH,
    web_fetch_20260309: `${FETCH} use_cache`,
    web_fetch_20260318: `${FETCH} use_cache ${INCLUSION}`,
  },
  browser: each(`${POINTER} ${BROWSER}`, 'config'),
  computer: each(`${POINTER} cursor_position`, 'config'),
  config: 'defer_loading enabled',
  location: { approximate: 'city country region timezone' },
  sources: 'client_tool_results:allowed server_tool_results:allowed user_input:allowed',
  allowed: { all: '', none: '', only: 'tools:named', except: 'tools:named' },
  named: { tool_reference: 'name' },
};

/** A member of an object, or one of the values that a member can have. */
interface Known {
  name: string;
  /** The betas of which a request needs one; none where it needs none. */
  betas: readonly string[];
}

interface KnownMember extends Known {
  kind: string | undefined;
  values: readonly Known[] | undefined;
}

const knownOf = new Map<string, readonly KnownMember[]>();

/** @param text a name, and the betas behind it: `name@beta,other` */
function knownIn(text: string): Known {
  const [name = '', betas] = text.split('@');
  return { name, betas: betas?.split(',') ?? [] };
}

/** @param members as they stand above @returns the same, read once; that of a type's own betas has an empty name */
function read(members: string): readonly KnownMember[] {
  const before = knownOf.get(members);
  if (before) return before;
  const entries = members.split(' ').map((entry) => {
    const [, member = '', sign, more = ''] = /^([\w@,-]*)(?:([:=])(.*))?$/.exec(entry) ?? [];
    const values = sign === '=' ? more.split('|').map(knownIn) : undefined;
    return { ...knownIn(member), kind: sign === ':' ? more : undefined, values };
  });
  knownOf.set(members, entries);
  return entries;
}

function isOpen({ betas }: Known, active: Betas): boolean {
  return betas.length === 0 || betas.some((name) => hasBeta(active, name));
}

/** @returns the types of a kind that says its type, with those of the betas that are asked for */
export function tagsOf(kind: string, betas: Betas): string[] {
  return Object.entries(KINDS[kind] ?? {}).flatMap(([tag, members]) =>
    read(members).every((one) => one.name !== '' || isOpen(one, betas)) ? [tag] : [],
  );
}

/**
 * Refuses what the API does not know in a value: a member, a type, or one of the values that a member can have.
 *
 * @param kind of the value, or of each of a list; nothing of another form is looked into
 * @throws ApiError 400 in the API's words
 */
export function refuseUnknown(value: Json | undefined, kind: string, path: string, betas: Betas): void {
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) refuseUnknown(entry, kind, `${path}.${index}`, betas);
  }
  if (!isObject(value)) return;
  const own = KINDS[kind] ?? '';
  const tag = typeof own === 'string' ? undefined : tagIn(value, kind, path, betas);
  const members = read(typeof own === 'string' ? own : (own[tag ?? ''] ?? '')).filter((one) => isOpen(one, betas));
  const at = [path, tag].filter(Boolean).join('.');
  refuseExtras(value, new Set(['type', ...members.map(({ name }) => name)]), at);
  for (const { name, values } of members) {
    if (values === undefined) continue;
    const choices = values.flatMap((one) => (isOpen(one, betas) ? [one.name] : []));
    const list = member(value, name) ?? [];
    const strange = (Array.isArray(list) ? list : [list]).find(
      (one) => one !== null && !(typeof one === 'string' && choices.includes(one)),
    );
    if (strange !== undefined) throw invalid(`${at}.${name}: Input should be ${listed(choices)}`);
  }
  for (const { name, kind: inner } of members) {
    if (inner !== undefined) refuseUnknown(member(value, name), inner, at === '' ? name : `${at}.${name}`, betas);
  }
}

/** A tool is the caller's own where it does not say its type. */
function tagIn(value: JsonObject, kind: string, path: string, betas: Betas): string {
  return kind === 'tool' && (value.type ?? null) === null ? 'custom' : requiredTag(value, tagsOf(kind, betas), path);
}
