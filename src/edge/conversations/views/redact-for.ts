/**
 * Decides which parts of an answer a viewer sees. `show: "text"` shows the blocks that every client can read: some clients were
 * made before the API had the other types. Most restricted tokens see that a tool was called, but not its input and result.
 */

import { isObject, type JsonObject } from '../../kit/json/object.ts';

/** Which parts of an answer a viewer sees. */
export interface ViewerVisibility {
  /** Whether it does not see what tools were given and gave back. */
  shouldHideTools: boolean;
  /** Whether it sees only what every client reads. */
  textOnly?: boolean;
  /** Whether its token is restricted. Then it does not see how models were chosen. */
  isRestricted?: boolean;
}

/** A viewer that sees everything. */
export const FULL_VIEWER: ViewerVisibility = { shouldHideTools: false };

const TEXT_TURN = 'turn_text_';

/**
 * @returns the prefix of a turn's id. It encodes how the turn is shown, so that every resumption shows the same without another
 *   stored value
 */
export function getTurnIdPrefix(show: string | undefined): string {
  return show === 'text' ? TEXT_TURN : 'turn_';
}

/** @returns whether a listener gets only what every client reads. @param show how it wants to see the turn; default: as it was begun */
export function isTextOnlyTurn(turn: string, show?: string): boolean {
  return show === undefined ? turn.startsWith(TEXT_TURN) : show === 'text';
}

/** How a block of one type is shown. */
interface BlockDisplayRule {
  /** Whether every client reads it. To others one such block may break the whole answer. */
  isReadable?: boolean;
  /**
   * The members that replace those of the block for viewers that may not see tools: the fewest that clients accept. Absent: the
   * block is shown unchanged.
   */
  hidden?: JsonObject;
}

/** @returns how the result of a server tool is shown. @param content the content of a hidden result */
function createResultDisplayRule(content: JsonObject | readonly []): BlockDisplayRule {
  return { hidden: { tool_use_id: '', content } };
}

const RAN = { stdout: '', stderr: '', return_code: 0, content: [] };
const FETCHED = {
  type: 'document',
  source: { type: 'text', media_type: 'text/plain', data: '' },
  title: '',
  citations: { enabled: false },
};
/** Output that the model wrote for its reader. A `tool_use` is a call that the client itself answers. */
const MODEL_OUTPUT: BlockDisplayRule = { isReadable: true };
/**
 * For viewers that may not see tools, a block of any other type is reduced to its type, so that all blocks keep their numbers.
 */
const VIEWS: ReadonlyMap<string, BlockDisplayRule> = new Map(
  Object.entries({
    text: MODEL_OUTPUT,
    thinking: MODEL_OUTPUT,
    redacted_thinking: MODEL_OUTPUT,
    tool_use: MODEL_OUTPUT,
    fallback: {},
    server_tool_use: { hidden: { id: '', name: '', input: {} } },
    mcp_tool_use: { hidden: { id: '', name: '', input: {}, server_name: '' } },
    mcp_tool_result: { hidden: { tool_use_id: '', is_error: false, content: [] } },
    mcp_tool_listing: { hidden: { mcp_server_name: '', tools: [] } },
    compaction: { hidden: { content: '' } },
    container_upload: { hidden: { file_id: '' } },
    web_search_tool_result: createResultDisplayRule([]),
    web_fetch_tool_result: createResultDisplayRule({
      type: 'web_fetch_result',
      url: '',
      retrieved_at: null,
      content: FETCHED,
    }),
    advisor_tool_result: createResultDisplayRule({ type: 'advisor_result', text: '', stop_reason: null }),
    code_execution_tool_result: createResultDisplayRule({ type: 'code_execution_result', ...RAN }),
    bash_code_execution_tool_result: createResultDisplayRule({ type: 'bash_code_execution_result', ...RAN }),
    text_editor_code_execution_tool_result: createResultDisplayRule({
      type: 'text_editor_code_execution_create_result',
      is_file_update: false,
    }),
    tool_search_tool_result: createResultDisplayRule({ type: 'tool_search_tool_search_result', tool_references: [] }),
  }),
);
const UNKNOWN_BLOCK: BlockDisplayRule = { hidden: {} };

const READABLE_DELTA = /^(text|thinking|signature|input_json)_delta$/;
const READABLE_CITATION = /^(page|char|web_search_result)_location$/;
/** The most characters of a name or an id. A longer value may contain anything, so it is not shown. */
const MAX_LABEL_CHARACTERS = 256;
/** Members that identify a call. */
const LABELS = ['id', 'name', 'server_name', 'tool_use_id'];
/** Why the API's own tools fail, in its words. */
const ERROR_CODE =
  /^(unavailable|overloaded|(content|request|output_file)_too_large|(query|url|prompt)_too_long|(file|model)_not_found|(execution_time|max_uses)_exceeded|invalid_tool_input|too_many_requests|unsupported_content_type|url_not_(accessible|allowed|in_prior_context))$/;

function getBlockDisplayRule(type: unknown): BlockDisplayRule {
  return VIEWS.get(toShortLabel(type)) ?? UNKNOWN_BLOCK;
}

/** @returns blocks of an answer, redacted for a viewer */
export function redactBlocks(
  blocks: readonly JsonObject[],
  { shouldHideTools: hides, textOnly }: ViewerVisibility,
): JsonObject[] {
  const read = textOnly ? blocks.filter(isReadableByEveryClient).map(removeUnreadableCitations) : [...blocks];
  return hides ? read.map(redactBlock) : read;
}

/** @returns whether every client reads a block, or a delta, of this type */
export function isReadableByEveryClient({ type, citation }: JsonObject): boolean {
  if (type === 'citations_delta') return isReadableCitation(citation);
  return getBlockDisplayRule(type).isReadable === true || READABLE_DELTA.test(String(type));
}

function removeUnreadableCitations({ citations, ...block }: JsonObject): JsonObject {
  return Array.isArray(citations) ? { ...block, citations: citations.filter(isReadableCitation) } : block;
}

function isReadableCitation(citation: unknown): boolean {
  return isObject(citation) && READABLE_CITATION.test(String(citation.type)) && citation.title !== null;
}

/** @returns whether a block shows the input or the result of a tool of the edge or of the API */
export function isToolDetailBlock({ type }: JsonObject): boolean {
  return getBlockDisplayRule(type).hidden !== undefined;
}

/** @returns a block without the input or result of a tool. It keeps its type and its form, so that clients accept it */
export function redactBlock(block: JsonObject): JsonObject {
  const { hidden } = getBlockDisplayRule(block.type);
  // Remove citations, because they quote tool results.
  if (!hidden) return block.citations ? { ...block, citations: [] } : block;
  const type = toShortLabel(block.type);
  const shown: JsonObject = { type, ...hidden };
  for (const name of LABELS) if (name in shown) shown[name] = toShortLabel(block[name]);
  if ('is_error' in shown) shown.is_error = block.is_error === true;
  else if ('tool_use_id' in shown) shown.content = redactResultContent(type, block.content, hidden.content);
  return shown;
}

/**
 * @returns the content of a result: only whether it failed, in the form of its server tool. @param empty the content of a
 *   successful result
 */
function redactResultContent(result: string, content: unknown, empty: unknown): unknown {
  const { type, error_code, return_code } = isObject(content) ? content : {};
  if (type === `${result}_error`) {
    return { type, error_code: ERROR_CODE.exec(toShortLabel(error_code))?.[0] ?? 'unavailable' };
  }
  // Show that a program failed, but replace its exit code with 1.
  return return_code && isObject(empty) && 'return_code' in empty ? { ...empty, return_code: 1 } : empty;
}

function toShortLabel(value: unknown): string {
  return typeof value === 'string' && value.length <= MAX_LABEL_CHARACTERS ? value : '';
}
