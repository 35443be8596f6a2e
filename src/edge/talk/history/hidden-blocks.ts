/** Hides what is in blocks of an answer: most bound tokens only see that a tool was called. */

import { isObject, type Json } from '../../kit/json/object.ts';

/** What the model wrote for whoever asks. A `tool_use` is a call that the page itself answers. */
const OF_MODEL = /^(text|(redacted_)?thinking|tool_use|fallback)$/;
/** Names and ids are not longer than this. What is may be anything. */
const MOST_LABEL = 256;
/** Why the API's own tools fail, in its words. */
const ERROR_CODE =
  /^(unavailable|overloaded|(content|request|output_file)_too_large|(query|url|prompt)_too_long|(file|model)_not_found|(execution_time|max_uses)_exceeded|invalid_tool_input|too_many_requests|unsupported_content_type|url_not_(accessible|allowed|in_prior_context))$/;

const RAN = { stdout: '', stderr: '', return_code: 0, content: [] };
/** What the results of the API's own tools say to who does not see them: the least that clients accept. */
const RESULTS: Readonly<Record<string, Json | readonly []>> = {
  web_search: [],
  web_fetch: {
    ...{ type: 'web_fetch_result', url: '', retrieved_at: null },
    content: {
      type: 'document',
      source: { type: 'text', media_type: 'text/plain', data: '' },
      ...{ title: '', citations: { enabled: false } },
    },
  },
  advisor: { type: 'advisor_result', text: '', stop_reason: null },
  code_execution: { type: 'code_execution_result', ...RAN },
  bash_code_execution: { type: 'bash_code_execution_result', ...RAN },
  text_editor_code_execution: { type: 'text_editor_code_execution_create_result', is_file_update: false },
  tool_search: { type: 'tool_search_tool_search_result', tool_references: [] },
};
/** What other hidden blocks say, by their types. */
const BLOCKS: Readonly<Record<string, Json>> = {
  server_tool_use: { id: '', name: '', input: {} },
  mcp_tool_use: { id: '', name: '', input: {}, server_name: '' },
  mcp_tool_result: { tool_use_id: '', is_error: false, content: [] },
  mcp_tool_listing: { mcp_server_name: '', tools: [] },
  compaction: { content: '' },
  container_upload: { file_id: '' },
};
/** Members that say which call it is. */
const LABELS = ['id', 'name', 'server_name', 'tool_use_id'];

/** @returns whether a block shows what a tool of the edge or of the API was given, or what came back. */
export function isHiddenBlock({ type }: Json): boolean {
  return !OF_MODEL.test(shortLabel(type));
}

/**
 * @returns a block without what a tool was given and gave back. It keeps its type and its form, so that clients accept it; of a
 *   type that is not known the type alone, so that all blocks keep their numbers
 */
export function hiddenBlock(block: Json): Json {
  // A citation quotes what a tool has found.
  if (!isHiddenBlock(block)) return block.citations ? { ...block, citations: [] } : block;
  const type = shortLabel(block.type);
  const tool = type.replace(/_tool_result$/, '');
  const isResult = tool !== type && Object.hasOwn(RESULTS, tool);
  const empty = Object.hasOwn(BLOCKS, type) ? BLOCKS[type] : {};
  const shown: Json = { type, ...(isResult ? { tool_use_id: '', content: hiddenResult(tool, block.content) } : empty) };
  for (const name of LABELS) if (name in shown) shown[name] = shortLabel(block[name]);
  if ('is_error' in shown) shown.is_error = block.is_error === true;
  return shown;
}

function shortLabel(value: unknown): string {
  return typeof value === 'string' && value.length <= MOST_LABEL ? value : '';
}

/** @returns the result of a tool as a form without content: whether it failed, and how a tool of the API says that. */
function hiddenResult(tool: string, content: unknown): unknown {
  const { type, error_code, return_code } = isObject(content) ? content : {};
  if (type === `${tool}_tool_result_error`) {
    return { type, error_code: ERROR_CODE.exec(shortLabel(error_code))?.[0] ?? 'unavailable' };
  }
  const empty = RESULTS[tool];
  // Whether a program failed, but not how.
  return return_code && isObject(empty) && 'return_code' in empty ? { ...empty, return_code: 1 } : empty;
}
