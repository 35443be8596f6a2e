/**
 * What the Messages API answers with 400 in `messages`, from its documentation, as a table. Written apart from the
 * simulator, so that the two do not share a mistake; typed by the official SDK, so that neither drifts from the wire.
 */
import type Anthropic from '@anthropic-ai/sdk';

type Message = Anthropic.MessageParam;
type Block = Anthropic.ContentBlockParam;

interface Turn {
  role: Message['role'];
  blocks: Block[];
}

/** A rule finds what breaks it, in a few words, or nothing. */
type Rule = (messages: readonly Message[], turns: readonly Turn[], request: Request) => string | undefined;

/** What rules look at beside the messages. */
interface Request {
  container?: unknown;
}

const toBlocks = ({ content }: Message): Block[] =>
  typeof content === 'string' ? (content === '' ? [] : [{ type: 'text', text: content }]) : content;

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Consecutive messages of one role are one turn to the API. */
function groupTurns(messages: readonly Message[]): Turn[] {
  const turns: Turn[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.role === message.role) last.blocks.push(...toBlocks(message));
    else turns.push({ role: message.role, blocks: [...toBlocks(message)] });
  }
  return turns;
}

const USER_ONLY = new Set<string>(['tool_result', 'image', 'search_result']);
const ASSISTANT_ONLY = new Set<string>(['tool_use', 'server_tool_use', 'thinking', 'redacted_thinking']);
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

const SUMMARY_KEYS = new Set(['type', 'content', 'encrypted_content', 'signature', 'tool_changes', 'cache_control']);

/** A summary as it is sent back; the SDK has its type among its betas. */
type Summary = Anthropic.Beta.Messages.BetaCompactionBlockParam;

/** Where summaries with content stand. One without content failed, and is nothing to the API. */
function findSummaries(messages: readonly Message[]): { summary: Summary; role: string; at: string }[] {
  return messages.flatMap((message, index) =>
    (toBlocks(message) as (Block | Summary)[]).flatMap((block, within) =>
      block.type === 'compaction' && (block.content ?? null) !== null
        ? [{ summary: block, role: message.role, at: `${index}.${within}` }]
        : [],
    ),
  );
}

/**
 * Tells whether the summaries that messages carry are as the API returned them, but for cache breakpoints.
 *
 * @param returned the blocks of the API's answers
 */
export function areSummariesVerbatim(messages: readonly unknown[], returned: readonly object[]): boolean {
  const serializeBlock = (block: object) =>
    JSON.stringify(Object.entries({ ...block, cache_control: undefined }).sort());
  const known = new Set(returned.map(serializeBlock));
  return findSummaries(messages as Message[]).every(({ summary }) => known.has(serializeBlock(summary)));
}

const RULES: Readonly<Record<string, Rule>> = {
  'the first message is the user’s, or begins with a summary': (messages) =>
    messages[0]?.role === 'assistant' && findSummaries(messages)[0]?.at !== '0.0' ? 'assistant first' : undefined,
  'there is at most one summary with content, first of all, and not in a system message': (messages) => {
    const [first, ...others] = findSummaries(messages);
    if (others.length > 0) return `summaries at ${first?.at} and ${others.map(({ at }) => at).join()}`;
    if (first?.role === 'system') return 'a summary in a system message';
    return first === undefined || first.at === '0.0' ? undefined : `a summary at ${first.at}`;
  },
  'a summary has its text, its signature, and no more than the API sent': (messages) => {
    for (const { summary, at } of findSummaries(messages)) {
      if (summary.content === '') return `an empty summary at ${at}`;
      if (!summary.signature) return `a summary without a signature at ${at}`;
      const extra = Object.keys(summary).find((name) => !SUMMARY_KEYS.has(name));
      if (extra !== undefined) return `${extra} in the summary at ${at}`;
    }
    return undefined;
  },
  'no message but a last assistant one is empty': (messages) => {
    const at = messages.findIndex(
      (message, index) =>
        toBlocks(message).length === 0 && !(message.role === 'assistant' && index === messages.length - 1),
    );
    return at < 0 ? undefined : `message ${at} is empty`;
  },
  'text is not blank': (_, turns) =>
    turns.some(({ blocks }) => blocks.some((block) => block.type === 'text' && block.text.trim() === ''))
      ? 'blank text'
      : undefined,
  'text is Unicode': (_, turns) =>
    turns.some(({ blocks }) => blocks.some((block) => block.type === 'text' && LONE_SURROGATE.test(block.text)))
      ? 'half a character'
      : undefined,
  'blocks stand in messages of their role': (_, turns) => {
    for (const { role, blocks } of turns) {
      const wrong = blocks.find(({ type }) => (role === 'user' ? ASSISTANT_ONLY : USER_ONLY).has(type));
      if (wrong) return `${wrong.type} in a ${role} message`;
    }
    return undefined;
  },
  'thinking does not end an assistant message': (messages) =>
    messages.some(
      (message) => message.role === 'assistant' && /^(redacted_)?thinking$/.test(toBlocks(message).at(-1)?.type ?? ''),
    )
      ? 'thinking at the end'
      : undefined,
  'thinking is signed': (_, turns) =>
    turns.some(({ blocks }) => blocks.some((block) => block.type === 'thinking' && !block.signature))
      ? 'thinking without a signature'
      : undefined,
  'each call is answered in the next message': (_, turns) => {
    for (const [index, { role, blocks }] of turns.entries()) {
      // What comes next may still answer the last one.
      if (role !== 'assistant' || index === turns.length - 1) continue;
      const answered = new Set(
        turns[index + 1]?.blocks.filter((block) => block.type === 'tool_result').map((block) => block.tool_use_id),
      );
      const open = blocks.find((block) => block.type === 'tool_use' && !answered.has(block.id));
      if (open) return `no result for ${(open as Anthropic.ToolUseBlockParam).id}`;
    }
    return undefined;
  },
  'each result answers a call of the message before, once': (_, turns) => {
    for (const [index, { blocks }] of turns.entries()) {
      const calls = turns[index - 1]?.blocks.filter((block) => block.type === 'tool_use').map(({ id }) => id) ?? [];
      const results = blocks.filter((block) => block.type === 'tool_result').map((block) => block.tool_use_id);
      if (new Set(results).size !== results.length) return 'two results for one call';
      const stray = results.find((id) => !calls.includes(id));
      if (stray !== undefined) return `a result for ${stray}, which was not called`;
    }
    return undefined;
  },
  'calls have ids of their own': (_, turns) => {
    const ids = turns.flatMap(({ blocks }) => blocks.filter((block) => block.type === 'tool_use').map(({ id }) => id));
    return new Set(ids).size === ids.length ? undefined : 'an id twice';
  },
  'calls have names and ids that the API takes back': (_, turns) => {
    for (const block of turns.flatMap(({ blocks }) => blocks)) {
      if (block.type !== 'tool_use') continue;
      if (!/^[a-zA-Z0-9_-]{1,200}$/.test(block.name)) return `the name ${block.name}`;
      if (!/^[a-zA-Z0-9_-]+$/.test(block.id)) return `the id ${block.id}`;
    }
    return undefined;
  },
  'inputs are objects': (_, turns) =>
    turns.some(({ blocks }) =>
      blocks.some(
        (block) =>
          (block.type === 'tool_use' || block.type === 'server_tool_use') &&
          (typeof block.input !== 'object' || block.input === null || Array.isArray(block.input)),
      ),
    )
      ? 'an input that is no object'
      : undefined,
  'a server tool has its result, but in the last message': (_, turns) => {
    /** Uses without a result. Those beside calls of the client wait until these have theirs. */
    const open = new Set<string>();
    for (const [index, { role, blocks }] of turns.entries()) {
      if (role === 'user') {
        const onlyResults = blocks.every(({ type }) => type === 'tool_result');
        if (open.size > 0 && !onlyResults) return 'a server tool without its result';
        continue;
      }
      if (role !== 'assistant') continue;
      const waits = open.size > 0 && index > 0;
      for (const block of blocks) {
        if (/^(server|mcp)_tool_use$/.test(block.type)) open.add((block as { id: string }).id);
        else if ('tool_use_id' in block && block.type !== 'tool_result' && !open.delete(block.tool_use_id))
          return 'a server tool’s result without its use';
      }
      const calls = blocks.some(({ type }) => type === 'tool_use');
      if ((waits || index < turns.length - 1) && !calls && open.size > 0) return 'a server tool without its result';
    }
    return undefined;
  },
  'what code has called is answered in its container': (_, turns, { container }) => {
    const last = turns.findLast(({ role }) => role === 'assistant')?.blocks ?? [];
    const ended = new Set(last.map((block) => ('tool_use_id' in block ? block.tool_use_id : undefined)));
    const open = last.some((block) => {
      if (block.type !== 'tool_use' || !block.caller || block.caller.type === 'direct') return false;
      return !ended.has(block.caller.tool_id);
    });
    const isNamed = typeof container === 'string' || (isRecord(container) && typeof container.id === 'string');
    return open && !isNamed
      ? 'container_id is required when there are pending tool uses generated by code execution with tools.'
      : undefined;
  },
  'a result that is an error has text alone': (_, turns) => {
    const errors = turns.flatMap(({ blocks }) =>
      blocks.flatMap((block) => (block.type === 'tool_result' && block.is_error ? [block.content] : [])),
    );
    const wrong = errors.find((content) => Array.isArray(content) && content.some(({ type }) => type !== 'text'));
    return wrong === undefined ? undefined : 'an error with another block';
  },
  'there are at most four cache breakpoints': (messages) =>
    JSON.stringify(messages).split('"cache_control"').length > 5 ? 'five breakpoints' : undefined,
};

/** @returns the first rule that messages break, and how; undefined for messages that the API accepts. */
export function findBrokenRule(messages: readonly Message[], request: Request = {}): string | undefined {
  const turns = groupTurns(messages);
  for (const [name, rule] of Object.entries(RULES)) {
    const fault = rule(messages, turns, request);
    if (fault !== undefined) return `${name}: ${fault}`;
  }
  return undefined;
}
